/**
 * A real SMTP server on 127.0.0.1, on a port of the system's choice, for the tests that send mail.
 *
 * Input: one JSON argument,
 * `{"tls":"none"|"starttls"|"implicit","key":PEM file,"cert":PEM file,"user":…,"password":…}`. `key` and `cert` go with
 * TLS. `user` and `password` make authentication a duty; where there is TLS, it is refused in the clear. A recipient
 * whose local part starts with `defer` is answered 451 (with `defer-once` only the first time), with `reject` 550,
 * with `relay` 554. A message for `policy` is answered 554 at its end; one for `cut` is taken, and the connection is cut
 * instead of an answer.
 *
 * Output: the line `{"port":N}` once it listens; then, before a message is answered, the line
 * `{"from":…,"to":[…],"secure":bool,"user":string|null,"data":"the whole message as received","connection":"its id"}`.
 *
 * Exit: 0 when standard input closes, so that a killed test leaves no process behind; 1 when it cannot start.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { text } from 'node:stream/consumers';
import { SMTPServer } from 'smtp-server';

const { tls, key, cert, user, password } = JSON.parse(process.argv[2]);
assert.ok(['none', 'starttls', 'implicit'].includes(tls), 'tls is none, starttls or implicit');

const print = (value, done) => process.stdout.write(`${JSON.stringify(value)}\n`, done);
const refusal = (responseCode, message) => Object.assign(new Error(message), { responseCode });

const deferred = new Set();
const isDeferred = (address) => address.startsWith('defer') && !deferred.has(address);

const cut = (session) => {
  for (const connection of server.connections) {
    if (connection.session.id === session.id) connection._socket.destroy();
  }
};

const server = new SMTPServer({
  ...(tls !== 'none' && { key: readFileSync(key), cert: readFileSync(cert) }),
  secure: tls === 'implicit',
  allowInsecureAuth: tls === 'none',
  authOptional: !user,
  disabledCommands: [...(tls === 'none' ? ['STARTTLS'] : []), ...(user ? [] : ['AUTH'])],
  disableReverseLookup: true,

  onAuth(auth, _session, done) {
    const right = auth.username === user && auth.password === password;
    done(right ? null : refusal(535, 'Wrong user or password'), { user });
  },

  onRcptTo({ address }, _session, done) {
    if (isDeferred(address)) {
      if (address.startsWith('defer-once')) deferred.add(address);
      return done(refusal(451, 'Try again later'));
    }
    if (address.startsWith('relay')) return done(refusal(554, '5.7.1 Relay access denied'));
    if (address.startsWith('reject')) return done(refusal(550, 'No such mailbox'));
    done();
  },

  onData(stream, session, done) {
    text(stream).then((data) => {
      const { envelope, secure } = session;
      const to = envelope.rcptTo.map(({ address }) => address);
      if (to[0].startsWith('policy')) return done(refusal(554, '5.7.1 Message rejected by policy'));
      const answer = to[0].startsWith('cut') ? () => cut(session) : done;
      const { user = null, id: connection } = session;
      print({ from: envelope.mailFrom.address, to, secure, user, data, connection }, answer);
    }, done);
  },
});

// A client that hangs up or distrusts the certificate is its own test's business.
server.on('error', ({ message }) => console.error(message));
server.listen(0, '127.0.0.1', () => print({ port: server.server.address().port }));
process.stdin.resume().on('close', () => process.exit(0));
