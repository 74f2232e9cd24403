/**
 * `npm run simulate -- [--seeds N] [--first N] [--trace]`: simulated worlds, one for each seed. The same seed replays
 * exactly. `--trace` prints the scenario and the events of each client. Exits with 1 if a promise is broken.
 */
import { parseArgs } from 'node:util'
import { createScenario } from './scenario.js'
import { type RunResult, runScenario } from './world.js'

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '1000' },
    first: { type: 'string', default: '1' },
    trace: { type: 'boolean', default: false },
  },
})
const MAX_REPORTS = 20

// Stack traces, and mapping their positions to the source, cost more than the rest.
process.setSourceMapsEnabled(false)
if (!values.trace) Error.stackTraceLimit = 0
let unhandled = 0
process.on('unhandledRejection', (error) => {
  unhandled++
  console.error('Unhandled rejection', error)
})

const first = Number(values.first)
const count = Number(values.seeds)
if (!Number.isSafeInteger(first) || !Number.isSafeInteger(count) || count < 1) {
  console.error('--first and --seeds must be whole numbers, --seeds at least 1')
  process.exit(2)
}
const beganAt = process.hrtime.bigint()
const sums = { events: 0, announcements: 0, connections: 0, steps: 0 }
let failed = 0
for (let seed = first; seed < first + count; seed++) {
  const result = await runScenario(createScenario(seed))
  for (const name of Object.keys(sums) as (keyof typeof sums)[]) sums[name] += result[name]
  if (result.violations.length > 0 && ++failed <= MAX_REPORTS) report(seed, result)
  if (values.trace) trace(seed, result)
}
const seconds = Number(process.hrtime.bigint() - beganAt) / 1e9
console.log(JSON.stringify({ seeds: count, failed, unhandled, ...sums, perSecond: Math.round(count / seconds) }))
process.exit(failed + unhandled > 0 ? 1 : 0)

function report(seed: number, { violations }: RunResult): void {
  console.log([`seed ${seed}:`, ...violations.slice(0, 5).map((violation) => `  ${violation}`)].join('\n'))
}

function trace(seed: number, { clients }: RunResult): void {
  console.log(JSON.stringify(createScenario(seed), undefined, 1))
  for (const { client, trace } of clients) console.log([client, ...trace.map((line) => `  ${line}`)].join('\n'))
}
