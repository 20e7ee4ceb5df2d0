/**
 * Verifies what `host-harness audit prove` prints, sharing no code with it: the signature of the checkpoint (C2SP
 * signed-note and tlog-checkpoint, RFC 8032), that each record is in the tree (RFC 9162, section 2.1.3.2), and that the tree
 * of an older checkpoint is its beginning (section 2.1.4.2).
 *
 * Arguments: the key that is trusted, as `audit checkpoint --key` printed it. Input: the JSON on standard input.
 * Output: a line for each that holds. Exit: 0 all hold; 1 one does not, and why on standard error.
 */
import assert from 'node:assert/strict';
import { createHash, createPublicKey, verify } from 'node:crypto';
import { readFileSync } from 'node:fs';

const hash = (...parts) => createHash('sha256').update(Buffer.concat(parts.map((part) => Buffer.from(part)))).digest();
const base64 = (text) => Buffer.from(text, 'base64');
const node = (left, right) => hash([1], left, right);

/** Size and root that the note states, if the key has signed it. */
function open(note, vkey) {
  const [, name, id, key] = vkey.match(/^([^+]+)\+([0-9a-f]{8})\+(.+)$/);
  assert.equal(hash(name, '\n', base64(key)).toString('hex', 0, 4), id, 'the key has another id');
  assert.equal(base64(key)[0], 1, 'the key is not of Ed25519');
  const end = note.lastIndexOf('\n\n');
  const text = note.slice(0, end + 1);
  const line = note.slice(end + 2).split('\n').find((signature) => signature.startsWith(`— ${name} `));
  const signature = base64(line?.split(' ')[2] ?? '');
  assert.equal(signature.toString('hex', 0, 4), id, 'the key has signed nothing');
  const spki = Buffer.concat([base64('MCowBQYDK2VwAyEA'), base64(key).subarray(1)]); // RFC 8410
  const publicKey = createPublicKey({ key: spki, format: 'der', type: 'spki' });
  assert(verify(null, text, publicKey, signature.subarray(4)), 'the signature is wrong');
  const [origin, size, root] = text.split('\n');
  assert.equal(origin, name, 'it is of another log');
  return { size: Number(size), root };
}

/** That the leaf in the place `index` leads to the root. */
function checkInclusion({ size, root }, { index, salt, record, proof }) {
  assert(index < size, 'there is no such place');
  let [place, last, reached] = [index, size - 1, hash([0], base64(salt), JSON.stringify(record))];
  for (const sibling of proof.map(base64)) {
    assert(last > 0, 'the proof is too long');
    if (place % 2 === 1 || place === last) {
      reached = node(sibling, reached);
      while (place % 2 === 0 && place > 0) [place, last] = [place / 2, Math.floor(last / 2)];
    } else reached = node(reached, sibling);
    [place, last] = [Math.floor(place / 2), Math.floor(last / 2)];
  }
  assert.equal(last, 0, 'the proof is too short');
  assert.equal(reached.toString('base64'), root, `record ${index} is not in the log`);
}

/** That the older tree is the beginning of the newer one. */
function checkConsistency(older, newer, proof) {
  assert(older.size > 0 && older.size <= newer.size, 'it was rolled back');
  if (older.size === newer.size) return assert(older.root === newer.root && proof.length === 0, 'it was forked');
  const path = proof.map(base64);
  if (Number.isInteger(Math.log2(older.size))) path.unshift(base64(older.root));
  let [place, last] = [older.size - 1, newer.size - 1];
  while (place % 2 === 1) [place, last] = [Math.floor(place / 2), Math.floor(last / 2)];
  let [before, after] = [path[0], path[0]];
  for (const sibling of path.slice(1)) {
    assert(last > 0, 'the proof is too long');
    if (place % 2 === 1 || place === last) {
      [before, after] = [node(sibling, before), node(sibling, after)];
      while (place % 2 === 0 && place > 0) [place, last] = [place / 2, Math.floor(last / 2)];
    } else after = node(after, sibling);
    [place, last] = [Math.floor(place / 2), Math.floor(last / 2)];
  }
  assert(last === 0 && before?.toString('base64') === older.root, 'it was forked: the older tree is another');
  assert.equal(after.toString('base64'), newer.root, 'it was forked: the newer tree is another');
}

const [trusted] = process.argv.slice(2);
const { checkpoint, records = [], since, consistency } = JSON.parse(readFileSync(0, 'utf8'));
const head = open(checkpoint, trusted);
console.log(`a checkpoint of ${head.size} records is signed`);
for (const record of records) {
  checkInclusion(head, record);
  console.log(`record ${record.index} is in the log`);
}
if (since) {
  const older = open(since, trusted);
  checkConsistency(older, head, consistency);
  console.log(`the log of ${older.size} records is its beginning`);
}
