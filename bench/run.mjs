/**
 * `npm run bench -- fanout|burst [--streams 1000] [--runs 5] [--json]`
 *
 * Server CPU per delivered event, for the kit and others, in turn within one run: each server process alone on one core,
 * the load client on the other. What counts are the ratios of medians; absolute figures are the machine's.
 */
import { execFileSync, fork } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { cpus } from 'node:os'
import { parseArgs } from 'node:util'

const BENCHES = {
  fanout: { perTick: 1, ticks: 100, of: 'one event a tick' },
  burst: { perTick: 20, ticks: 30, of: '20 events a tick' },
}
const SERVERS = ['kit', 'floor', 'res-write', 'better-sse']
const INTERVAL_MS = 40

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    streams: { type: 'string', default: '1000' },
    runs: { type: 'string', default: '5' },
    json: { type: 'boolean', default: false },
  },
})
const [name = ''] = positionals
const bench = BENCHES[name]
if (bench === undefined) {
  console.error(`Which bench? ${Object.keys(BENCHES).join(', ')}`)
  process.exit(2)
}
const streams = Number(values.streams)
const runs = Number(values.runs)

const here = new URL('.', import.meta.url)
if (!existsSync(new URL('node_modules', here))) {
  execFileSync('npm', ['install', '--no-audit', '--no-fund', '--silent'], { cwd: here, stdio: 'inherit' })
}
execFileSync('npm', ['run', '--silent', 'build'], { cwd: new URL('..', here), stdio: 'inherit' })

/** A child on one core, where the system can pin. */
function start(script, core, ...args) {
  const pinned = cpus().length > 1 && existsSync('/usr/bin/taskset')
  const options = pinned ? { execPath: '/usr/bin/taskset', execArgv: ['-c', String(core), process.execPath] } : {}
  return fork(new URL(script, here), args, options)
}

async function message(child, type) {
  for (;;) {
    const [received] = await once(child, 'message')
    if (received.type === type) return received
  }
}

async function measure(server) {
  const child = start(`servers/${server}.mjs`, 0)
  const { port } = await message(child, 'listening')
  const load = start('load.mjs', 1, String(port), String(streams))
  await message(load, 'ready')
  const { perTick, ticks } = bench
  const received = message(load, 'done')
  load.send({ type: 'expect', events: streams * perTick * ticks })
  child.send({ type: 'go', perTick, ticks, intervalMs: INTERVAL_MS })
  const { cpuMicros } = await message(child, 'measured')
  await received
  for (const process of [load, child]) process.kill()
  return cpuMicros / (streams * perTick * ticks)
}

const median = (numbers) => [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)]
const results = Object.fromEntries(SERVERS.map((server) => [server, []]))
for (let run = 0; run < runs; run++) {
  for (const server of SERVERS) results[server].push(await measure(server))
}

const kit = median(results.kit)
const rows = SERVERS.map((server) => ({
  server,
  'µs per event, median': median(results[server]).toFixed(2),
  range: `${Math.min(...results[server]).toFixed(2)}–${Math.max(...results[server]).toFixed(2)}`,
  'kit / this': (kit / median(results[server])).toFixed(2),
}))
if (values.json) console.log(JSON.stringify({ bench: name, streams, runs, node: process.version, results }))
else {
  console.log(
    `${name}: ${streams} streams, ${bench.of}, 250 bytes, ${runs} runs each, Node ${process.version}, ${cpus()[0]?.model}`,
  )
  console.table(rows)
}
