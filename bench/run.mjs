/**
 * `npm run bench -- NAME [--streams N] [--runs N] [--seconds N] [--only a,b,c] [--json] [--save]`
 *
 * All contestants run in turn within one run: each server alone on one core, the load client on the other. Compare the
 * ratios of medians: absolute figures depend on the machine. `--save` stores the result in `results/`, from which
 * `npm run bench -- report` generates RESULTS.md and the plots.
 */
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { parseArgs } from 'node:util'
import { drops } from './benches/drops.mjs'
import { burst, fanout } from './benches/fanout.mjs'
import { idle } from './benches/idle.mjs'
import { join } from './benches/join.mjs'
import { limiter } from './benches/limiter.mjs'
import { multi } from './benches/multi.mjs'
import { polling } from './benches/polling.mjs'
import { publish } from './benches/publish.mjs'
import { redis } from './benches/redis.mjs'
import { scale } from './benches/scale.mjs'
import { slow } from './benches/slow.mjs'
import { soak } from './benches/soak.mjs'
import { sparse } from './benches/sparse.mjs'
import { inWords, judge } from './harness/goals.mjs'
import { report } from './report.mjs'

const BENCHES = { fanout, burst, multi, join, slow, idle, publish, redis, sparse, scale, polling, limiter, drops, soak }

/** The major version of Node for results without a version in their name. */
const OLDEST_NODE = '20'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    streams: { type: 'string' },
    runs: { type: 'string' },
    seconds: { type: 'string' },
    only: { type: 'string' },
    json: { type: 'boolean', default: false },
    save: { type: 'boolean', default: false },
  },
})
const [name = ''] = positionals
if (name === 'report') {
  report(Object.keys(BENCHES))
  process.exit()
}
const bench = BENCHES[name]
if (bench === undefined) {
  console.error(`Usage: npm run bench -- NAME, where NAME is one of ${Object.keys(BENCHES).join(', ')}, report`)
  process.exit(2)
}

const here = new URL('.', import.meta.url)
const peers = JSON.parse(readFileSync(new URL('package.json', here), 'utf8')).dependencies
if (!Object.keys(peers).every((peer) => existsSync(new URL(`node_modules/${peer}`, here)))) {
  execFileSync('npm', ['install', '--no-audit', '--no-fund', '--silent'], { cwd: here, stdio: 'inherit' })
}
execFileSync('npm', ['run', '--silent', 'build'], { cwd: new URL('..', here), stdio: 'inherit' })

const parameters = { ...bench.defaults }
for (const option of ['streams', 'runs', 'seconds']) if (values[option]) parameters[option] = Number(values[option])
// Names may contain a comma and a space.
if (values.only) parameters.only = values.only.split(/,(?! )/)
const goals = typeof bench.goals === 'function' ? bench.goals(parameters) : bench.goals
const rows = await bench.run(parameters)
const result = {
  bench: name,
  command: `npm run bench -- ${process.argv
    .slice(2)
    .filter((argument) => !/^--(json|save)$/.test(argument))
    .join(' ')}`,
  title: bench.title(parameters.streams),
  date: new Date().toISOString().slice(0, 10),
  machine: `${cpus().length} cores, ${cpus()[0]?.model}`,
  node: process.version,
  peers,
  parameters,
  columns: bench.columns,
  goals,
  rows,
}
if (values.save) {
  const size = parameters.streams === bench.defaults.streams ? '' : `-${parameters.streams}`
  const [major] = process.versions.node.split('.')
  const runtime = major === OLDEST_NODE ? '' : `-node${major}`
  writeFileSync(new URL(`results/${name}${size}${runtime}.json`, here), `${JSON.stringify(result, undefined, 2)}\n`)
}
if (goals.some((goal) => goal.mandatory && judge(goal, rows)?.reached === false)) process.exitCode = 1
if (values.json) console.log(JSON.stringify(result))
else print(result)

function print({ bench: benchName, title, parameters: { runs }, columns, rows: measured }) {
  console.log(`${benchName}: ${title}, median of ${runs} runs (range), Node ${process.version}, ${cpus()[0]?.model}`)
  const [first] = measured
  console.table(
    measured.map(({ name: contestant, figures }) => {
      const row = { contestant }
      for (const { key, title: heading, digits, ratio } of columns) {
        const figure = figures[key]
        if (figure === undefined) continue
        const range = `${figure.min.toFixed(digits)}–${figure.max.toFixed(digits)}`
        row[heading] = `${figure.median.toFixed(digits)} (${range})`
        if (ratio) row[`${first.name} / this`] = (first.figures[key].median / figure.median).toFixed(2)
      }
      return row
    }),
  )
  for (const goal of goals) {
    const judged = judge(goal, measured)
    if (judged) console.log(`${judged.reached ? 'reached' : 'MISSED '}  ${inWords(goal)}: ${judged.value.toFixed(2)}`)
  }
}
