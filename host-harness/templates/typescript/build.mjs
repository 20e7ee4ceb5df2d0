/**
 * Makes a component of plugin.ts: `node build.mjs OUTPUT`. What it needs is in package.json.
 *
 * Exit: 0, and the component is at OUTPUT, whole or not at all; 1 otherwise, and standard error says why.
 */
import { execFileSync } from 'node:child_process';
import { cp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { componentize } from '@bytecodealliance/componentize-js';
import { build } from 'esbuild';

const WORLD = 'reset-totp-plugin';
const [output] = process.argv.slice(2);

/** The contract, with a later patch of the clock: the engine's own has no clock, and so replaces those that it knows. */
async function contract() {
  await rm('out', { recursive: true, force: true });
  await cp('wit', 'out/wit', { recursive: true });
  for (const file of ['out/wit/world.wit', 'out/wit/deps/clocks/wall-clock.wit']) {
    const text = await readFile(file, 'utf8');
    await writeFile(file, text.replace(/(wasi:clocks\S*@)0\.2\.0/, '$10.2.6'));
  }
}

await contract();
const run = (program, ...args) => execFileSync(`node_modules/.bin/${program}`, args, { stdio: ['ignore', 2, 2] });
run('jco', 'guest-types', 'out/wit', '--world-name', WORLD, '--out-dir', 'out/types', '--quiet');
run('tsc');
await build({
  entryPoints: ['plugin.ts'],
  outfile: 'out/plugin.js',
  bundle: true,
  format: 'esm',
  external: ['wasi:*', 'chat:*'],
});
const { component } = await componentize({
  sourcePath: 'out/plugin.js',
  witPath: 'out/wit',
  worldName: WORLD,
  disableFeatures: ['stdio', 'random', 'clocks', 'http', 'fetch-event'],
});
await writeFile(`${output}.part`, component);
await rename(`${output}.part`, output);
