// Before `jco serve` serves: of the file system, which it lends whole, no more than the folder of the accounts.
import { _setPreopens } from '@bytecodealliance/preview2-shim/filesystem';

_setPreopens({ '/': process.env.ACCOUNTS_FOLDER });
