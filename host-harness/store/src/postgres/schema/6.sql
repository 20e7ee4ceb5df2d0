-- Version 6: whoever looks for a few records of a long audit trail reads no others.

CREATE INDEX audit_by_caller ON audit (workspace, caller, at, id);
CREATE INDEX audit_by_target ON audit (workspace, target, at, id);
CREATE INDEX audit_by_action ON audit (workspace, action, at, id);
