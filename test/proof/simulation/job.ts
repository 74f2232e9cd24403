/**
 * Runs worlds in a process of their own, until a promise is broken: what a broken world leaves behind, such as a timer,
 * might disturb the next one.
 */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { createScenario, type Scenario } from './scenario.js'

export interface Sums {
  seeds: number
  failed: number
  unhandled: number
  events: number
  announcements: number
  connections: number
  /** Events of the virtual time. */
  steps: number
}

export function emptySums(): Sums {
  return { seeds: 0, failed: 0, unhandled: 0, events: 0, announcements: 0, connections: 0, steps: 0 }
}

export function addSums(sums: Sums, more: Sums): void {
  for (const name of Object.keys(sums) as (keyof Sums)[]) sums[name] += more[name]
}

/** Seeds, up to the first whose world breaks a promise; or one scenario, whose traces are wanted. */
export type Job = { readonly from: number; readonly to: number } | { readonly scenario: Scenario }

export interface Result {
  readonly sums: Sums
  readonly broken?: { readonly scenario: Scenario; readonly violations: readonly string[] } | undefined
  /** What each client received. */
  readonly traces?: readonly { readonly client: string; readonly trace: readonly string[] }[] | undefined
}

/** What a worker sends: the seed of each world before it begins, and at last the result. */
export type Report = { readonly begins: number } | Result

/** How long one world may take, in seconds: a thousand times as long as it usually does. */
const HANGS_SECONDS = 120

export async function runApart(job: Job): Promise<Result> {
  const file = fileURLToPath(new URL('worker.ts', import.meta.url))
  const child = fork(file, [], { execArgv: process.execArgv })
  // A worker in an endless loop ends neither by itself nor by a signal that it could handle.
  const kill = () => child.kill('SIGKILL')
  process.once('exit', kill)
  let result: Result | undefined
  let seed = 'scenario' in job ? job.scenario.seed : job.from
  // Counts the seconds in which this process runs: both may be paused.
  let seconds = 0
  const watchdog = setInterval(() => {
    if (++seconds < HANGS_SECONDS) return
    const scenario = 'scenario' in job ? job.scenario : createScenario(seed)
    const seeds = 'scenario' in job ? 1 : seed - job.from + 1
    const violations = [`the world did not end within ${HANGS_SECONDS} s of real time`]
    result = { sums: { ...emptySums(), seeds, failed: 1 }, broken: { scenario, violations } }
    kill()
  }, 1000)
  child.on('message', (message: Report) => {
    if (!('begins' in message)) {
      result = message
      return
    }
    seed = message.begins
    seconds = 0
  })
  child.send(job)
  await once(child, 'exit')
  clearInterval(watchdog)
  process.off('exit', kill)
  if (result === undefined) throw new Error(`the worker ended without a result: ${JSON.stringify(job).slice(0, 200)}`)
  return result
}
