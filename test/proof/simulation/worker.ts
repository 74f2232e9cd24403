/** A process that runs one `Job`. It is sent the job and sends the result. */
import { emptySums, type Job, type Report, type Result } from './job.js'
import { createScenario } from './scenario.js'
import { runScenario } from './world.js'

// Stack traces, and mapping their positions to the source, cost more than all else.
process.setSourceMapsEnabled(false)
// What ioredis and the kit print about the faults of thousands of worlds.
console.warn = () => undefined
process.removeAllListeners('warning')
process.once('message', async (job: Job) => {
  const result = await run(job)
  process.send?.(result, () => process.exit())
})

async function run(job: Job): Promise<Result> {
  if (!('scenario' in job)) Error.stackTraceLimit = 0
  const sums = emptySums()
  process.on('unhandledRejection', (error) => {
    sums.unhandled++
    console.error('Unhandled rejection', error)
  })
  const scenarios = 'scenario' in job ? [job.scenario] : scenariosOf(job.from, job.to)
  for (const scenario of scenarios) {
    const begins: Report = { begins: scenario.seed }
    process.send?.(begins)
    const { violations, clients, ...counts } = await runScenario(scenario)
    sums.seeds++
    for (const name of Object.keys(counts) as (keyof typeof counts)[]) sums[name] += counts[name]
    const traces = 'scenario' in job ? clients.map(({ client, trace }) => ({ client, trace })) : undefined
    if (violations.length === 0 && traces === undefined) continue
    if (violations.length > 0) sums.failed++
    return { sums, traces, broken: violations.length > 0 ? { scenario, violations } : undefined }
  }
  return { sums }
}

function* scenariosOf(from: number, to: number) {
  for (let seed = from; seed < to; seed++) yield createScenario(seed)
}
