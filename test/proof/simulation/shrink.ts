/** Removes from a scenario what its violation does not need, so that the cause can be seen. */
import { runApart } from './job.js'
import type { Scenario } from './scenario.js'

/** @returns the smallest scenario found that still breaks a promise; not necessarily the same one */
export async function shrink(scenario: Scenario): Promise<Scenario> {
  let smallest = scenario
  const keepIfBroken = async (candidate: Scenario): Promise<boolean> => {
    const { broken } = await runApart({ scenario: candidate })
    if (broken !== undefined) smallest = candidate
    return broken !== undefined
  }
  for (let isSmaller = true; isSmaller; ) {
    isSmaller = await withoutActions(() => smallest, keepIfBroken)
    while (smallest.clients.length > 1 && (await keepIfBroken({ ...smallest, clients: smallest.clients.slice(0, -1) })))
      isSmaller = true
    while (smallest.processes > 1 && (await keepIfBroken({ ...smallest, processes: smallest.processes - 1 })))
      isSmaller = true
  }
  return smallest
}

/** Removes actions, first in large blocks, then one at a time. @returns whether any were removed */
async function withoutActions(
  current: () => Scenario,
  keepIfBroken: (candidate: Scenario) => Promise<boolean>,
): Promise<boolean> {
  let removed = false
  for (let size = Math.ceil(current().actions.length / 2); size >= 1; size = Math.floor(size / 2)) {
    for (let at = 0; at < current().actions.length; ) {
      const { actions } = current()
      const rest = [...actions.slice(0, at), ...actions.slice(at + size)]
      if (await keepIfBroken({ ...current(), actions: rest })) removed = true
      else at += size
    }
  }
  return removed
}
