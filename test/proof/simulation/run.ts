/**
 * `npm run simulate -- [--seeds N] [--first N] [--jobs N] [--trace] [--shrink]`: simulated worlds, one for each seed. The
 * same seed replays exactly. `--jobs`: processes side by side. `--trace` prints the scenario and what each client
 * received; `--shrink` prints the smallest scenario found that still breaks a promise; `--stop` ends at the first broken
 * promise. Exits with 1 if one is broken.
 */
import { parseArgs } from 'node:util'
import { addSums, emptySums, type Result, runApart } from './job.js'
import { createScenario, type Scenario } from './scenario.js'
import { shrink } from './shrink.js'

/** Failed seeds that are reported in full. */
const MAX_REPORTS = 20
/** Seeds that a job takes at a time. */
const PORTION = 2000

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '1000' },
    first: { type: 'string', default: '1' },
    jobs: { type: 'string', default: '1' },
    trace: { type: 'boolean', default: false },
    shrink: { type: 'boolean', default: false },
    stop: { type: 'boolean', default: false },
  },
})
const [first, count, jobs] = [values.first, values.seeds, values.jobs].map(Number) as [number, number, number]
if (![first, count, jobs].every((value) => Number.isSafeInteger(value)) || count < 1 || jobs < 1) {
  console.error('--first, --seeds and --jobs must be whole numbers; --seeds and --jobs at least 1')
  process.exit(2)
}
let end = first + count
const beganAt = performance.now()
for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, conclude)
const sums = emptySums()
let next = first
let reports = 0
await Promise.all(Array.from({ length: jobs }, work))
conclude()

/** Prints the sums of the jobs that have ended. */
function conclude(): never {
  const perSecond = Math.round((sums.seeds * 1000) / (performance.now() - beganAt))
  console.log(JSON.stringify({ ...sums, perSecond }))
  process.exit(sums.failed + sums.unhandled > 0 ? 1 : 0)
}

async function work(): Promise<void> {
  while (next < end) {
    let from = next
    next = Math.min(end, next + (values.trace ? 1 : PORTION))
    const to = next
    while (from < to) {
      const result = await runApart({ from, to })
      addSums(sums, result.sums)
      from += result.sums.seeds
      if (result.broken !== undefined && values.stop) from = next = end = to
      if (result.broken !== undefined && ++reports <= MAX_REPORTS) await report(result.broken)
      if (values.trace) await print(createScenario(from - 1))
    }
  }
}

async function report({ scenario, violations }: NonNullable<Result['broken']>): Promise<void> {
  console.log([`seed ${scenario.seed}:`, ...violations.slice(0, 5).map((violation) => `  ${violation}`)].join('\n'))
  if (values.shrink) await print(await shrink(scenario))
}

async function print(scenario: Scenario): Promise<void> {
  const { traces = [], broken } = await runApart({ scenario })
  console.log(JSON.stringify(scenario, undefined, 1))
  for (const { client, trace } of traces) console.log([client, ...trace.map((line) => `  ${line}`)].join('\n'))
  for (const violation of broken?.violations ?? []) console.log(`VIOLATION ${violation}`)
}
