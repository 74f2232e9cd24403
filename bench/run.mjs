/**
 * `npm run bench -- NAME [--streams N] [--runs N] [--json]`, NAME one of fanout, burst, idle.
 *
 * All contestants run in turn within one run: each server process alone on one core, the load client on the other. What
 * counts are the ratios of medians; absolute figures are the machine's.
 */
import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { cpus } from 'node:os'
import { parseArgs } from 'node:util'
import { fanout } from './fanout.mjs'
import { idle } from './idle.mjs'

const BENCHES = {
  fanout: {
    of: 'one event of 250 bytes a tick',
    streams: 1000,
    runs: 5,
    run: (with_) => fanout({ perTick: 1, ticks: 100 }, with_),
  },
  burst: {
    of: '20 events of 250 bytes a tick',
    streams: 1000,
    runs: 5,
    run: (with_) => fanout({ perTick: 20, ticks: 30 }, with_),
  },
  idle: { of: 'no events', streams: 15_000, runs: 3, run: idle },
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { streams: { type: 'string' }, runs: { type: 'string' }, json: { type: 'boolean', default: false } },
})
const [name = ''] = positionals
const bench = BENCHES[name]
if (bench === undefined) {
  console.error(`Which bench? ${Object.keys(BENCHES).join(', ')}`)
  process.exit(2)
}
const streams = Number(values.streams ?? bench.streams)
const runs = Number(values.runs ?? bench.runs)

const here = new URL('.', import.meta.url)
if (!existsSync(new URL('node_modules', here))) {
  execFileSync('npm', ['install', '--no-audit', '--no-fund', '--silent'], { cwd: here, stdio: 'inherit' })
}
execFileSync('npm', ['run', '--silent', 'build'], { cwd: new URL('..', here), stdio: 'inherit' })

const { results, table } = await bench.run({ streams, runs })
if (values.json) console.log(JSON.stringify({ bench: name, streams, runs, node: process.version, results }))
else {
  console.log(
    `${name}: ${streams} streams, ${bench.of}, median of ${runs} runs, Node ${process.version}, ${cpus()[0]?.model}`,
  )
  console.table(table)
}
