import type { Coverage } from './coverage.js'
import { apply, type Mutant } from './mutators.js'
import { type Probe, probeAt, probesOf } from './probes.js'
import type { Workspace } from './workspace.js'

export interface Trial {
  readonly mutant: Mutant
  readonly result: 'killed' | 'survived' | 'not covered'
  /** The test files of the last run. */
  readonly tests: readonly string[]
}

/** How long the tests of one run may take, by their durations without a mutant. */
const GROUP_MS = 10_000

/**
 * Runs the tests that execute a mutant's code, the most specific first, until one fails.
 * @param budgetMs how long all of them may take, by their durations without a mutant
 */
export async function tryMutant(
  workspace: Workspace,
  mutant: Mutant,
  coverage: Coverage,
  budgetMs: number,
): Promise<Trial> {
  const source = await workspace.read(mutant.file)
  const tests = withinBudget(testsOf(mutant, probesOf(mutant.file, source), coverage), coverage, budgetMs)
  if (tests.length === 0) return { mutant, result: 'not covered', tests }
  await workspace.write(mutant.file, apply(source, mutant))
  try {
    for (const group of grouped(tests, coverage)) {
      const usualMs = group.reduce((sum, test) => sum + (coverage[test]?.ms ?? 0), 0)
      const outcome = await workspace.test(group, 5 * usualMs + 20_000)
      if (outcome !== 'passed') return { mutant, result: 'killed', tests: group }
    }
    return { mutant, result: 'survived', tests }
  } finally {
    await workspace.write(mutant.file, source)
  }
}

/** The test files that execute the mutant's statement: first short ones, and those mostly about its file. */
function testsOf({ file, start }: Mutant, probes: readonly Probe[], coverage: Coverage): string[] {
  const probe = `${file}#${probeAt(probes, start)}`
  const shares = new Map<string, number>()
  for (const [test, run] of Object.entries(coverage)) {
    if (run.probes === undefined) shares.set(test, 1)
    if (!run.passed || !run.probes?.includes(probe)) continue
    const own = run.probes.filter((reached) => reached.startsWith(`${file}#`)).length
    shares.set(test, own / run.probes.length / (500 + run.ms))
  }
  return [...shares].sort(([, one], [, other]) => other - one).map(([test]) => test)
}

function withinBudget(tests: readonly string[], coverage: Coverage, budgetMs: number): string[] {
  let left = budgetMs
  return tests.filter((test, index) => {
    const ms = coverage[test]?.ms ?? 0
    if (index > 0 && ms > left) return false
    left -= ms
    return true
  })
}

/** The first test file runs alone, because it decides most trials; the others share processes. */
function grouped(tests: readonly string[], coverage: Coverage): string[][] {
  const [first, ...others] = tests
  const groups = first === undefined ? [] : [[first]]
  let sum = GROUP_MS
  for (const test of others) {
    const ms = coverage[test]?.ms ?? 0
    if (sum + ms > GROUP_MS) {
      groups.push([])
      sum = 0
    }
    groups.at(-1)?.push(test)
    sum += ms
  }
  return groups
}
