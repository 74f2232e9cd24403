/**
 * `npm run mutants -- [PATH ...]`: changes one place of `lib` at a time and reports which changes no test notices. PATH
 * selects files or folders. Exits with 1 if a mutant survives.
 *
 * - `--sample N`: at most N mutants, the same share of each folder. `--seed S` draws others.
 * - `--only TEXT`: mutants whose id contains it, or one of several such texts. `--list` only prints the mutants.
 * - `--tests A,B`: runs these test files instead of those that execute the mutant's code.
 * - `--budget S`: seconds of tests for each mutant. `--jobs N`: mutants side by side.
 * - `--results FILE`: appends each result and skips mutants that are in it already. `--minutes M`: starts none after
 *   that time. `--again`: tries the survivors in the file again, with the tests that have not run.
 */
import { appendFile, readFile } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import { Random } from '../random.js'
import { type Coverage, measureCoverage } from './coverage.js'
import { type Mutant, mutantsOf } from './mutators.js'
import { type Trial, tryMutant } from './trial.js'
import { withoutTypeErrors } from './types.js'
import { Workspace } from './workspace.js'

type Outcome = Pick<Trial, 'result' | 'tests'>

const FOLDERS = ['lib/multiplexer', 'lib/broker', 'lib/stream', 'lib/wire', 'lib/limits']

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    sample: { type: 'string', default: '1000000' },
    seed: { type: 'string', default: '1' },
    only: { type: 'string', multiple: true, default: [''] },
    tests: { type: 'string' },
    budget: { type: 'string', default: '60' },
    results: { type: 'string' },
    minutes: { type: 'string', default: '1000000' },
    jobs: { type: 'string', default: '1' },
    again: { type: 'boolean', default: false },
    list: { type: 'boolean', default: false },
  },
})
const numbers = [values.sample, values.seed, values.budget, values.minutes, values.jobs].map(Number)
if (!numbers.every((value) => value > 0)) {
  console.error('--sample, --seed, --budget, --minutes and --jobs must be numbers above 0')
  process.exit(2)
}
const [size, seed, budgetS, minutes, jobs] = numbers as [number, number, number, number, number]
const endsAt = performance.now() + minutes * 60_000
const workspaces: Workspace[] = []
let survived = 0
try {
  workspaces.push(await Workspace.create())
  const mutants = await selectMutants(workspaces[0] as Workspace)
  if (values.list) for (const { id } of mutants) console.log(id)
  else survived = await tryAll(mutants)
} finally {
  await Promise.all(workspaces.map((workspace) => workspace.remove()))
}
process.exit(survived > 0 ? 1 : 0)

async function selectMutants(workspace: Workspace): Promise<Mutant[]> {
  const paths = positionals.length > 0 ? positionals : FOLDERS
  const all: Mutant[] = []
  for (const file of await workspace.files('lib')) {
    if (paths.some((path) => file === path || file.startsWith(`${path.replace(/\/$/, '')}/`))) {
      all.push(...mutantsOf(file, await workspace.read(file)))
    }
  }
  const chosen = sampled(all.filter(({ id }) => values.only.some((text) => id.includes(text))))
  const valid = await withoutTypeErrors(workspace, chosen)
  console.log(`${all.length} mutants, ${chosen.length} chosen, ${valid.length} without type errors`)
  return valid
}

/** The order is random, so that an interrupted run is a sample too. */
function sampled(mutants: readonly Mutant[]): Mutant[] {
  const random = new Random(seed)
  const shuffled = mutants.map((mutant) => ({ mutant, key: random.next() })).sort((one, other) => one.key - other.key)
  const folders = new Map<string, typeof shuffled>()
  for (const entry of shuffled) {
    const folder = entry.mutant.file.split('/')[1] as string
    folders.set(folder, [...(folders.get(folder) ?? []), entry])
  }
  const share = Math.min(1, size / mutants.length)
  const taken = [...folders.values()].flatMap((folder) => folder.slice(0, Math.ceil(folder.length * share)))
  return taken.sort((one, other) => one.key - other.key).map(({ mutant }) => mutant)
}

async function tryAll(mutants: readonly Mutant[]): Promise<number> {
  const coverage = await coverageOf()
  const done = await earlierTrials(mutants)
  const isWaiting = (trial: Outcome | undefined): boolean => (values.again ? trial?.result === 'survived' : !trial)
  const waiting = mutants.filter(({ id }) => isWaiting(done.get(id)))
  while (workspaces.length < jobs) workspaces.push(await Workspace.create())
  await Promise.all(
    workspaces.map(async (workspace) => {
      while (performance.now() < endsAt) {
        const mutant = waiting.shift()
        if (mutant === undefined) return
        const passed = done.get(mutant.id)?.tests ?? []
        const left = Object.fromEntries(Object.entries(coverage).filter(([test]) => !passed.includes(test)))
        const trial = await tryMutant(workspace, mutant, left, budgetS * 1000)
        if (passed.length > 0 && trial.result === 'not covered') continue
        done.set(mutant.id, trial)
        console.log(`${trial.result.padEnd(11)}  ${mutant.id}  (${trial.tests.length} test files)`)
        if (values.results !== undefined) await appendFile(values.results, `${line(trial)}\n`)
      }
    }),
  )
  return summarize(done)
}

async function coverageOf(): Promise<Coverage> {
  if (values.tests === undefined) return measureCoverage(FOLDERS)
  return Object.fromEntries(
    values.tests.split(',').map((test) => [test, { ms: 5000, passed: true, probes: undefined }]),
  )
}

function line({ mutant: { id }, result, tests }: Trial): string {
  return JSON.stringify({ id, result, tests })
}

async function earlierTrials(mutants: readonly Mutant[]): Promise<Map<string, Outcome>> {
  const done = new Map<string, Outcome>()
  if (values.results === undefined) return done
  const ids = new Set(mutants.map(({ id }) => id))
  for (const text of (await readFile(values.results, { encoding: 'utf8', flag: 'a+' })).split('\n')) {
    if (text === '') continue
    const { id, result, tests } = JSON.parse(text) as Outcome & { readonly id: string }
    if (ids.has(id)) done.set(id, { result, tests: [...(done.get(id)?.tests ?? []), ...tests] })
  }
  return done
}

function summarize(done: ReadonlyMap<string, Outcome>): number {
  const rows: Record<string, Record<string, number | string>> = {}
  for (const [id, { result }] of done) {
    for (const name of [id.split('/')[1] as string, 'all']) {
      rows[name] ??= { killed: 0, survived: 0, 'not covered': 0, score: '' }
      const row = rows[name]
      row[result] = Number(row[result]) + 1
      const missed = Number(row.survived) + Number(row['not covered'])
      row.score = `${((Number(row.killed) / (Number(row.killed) + missed)) * 100).toFixed(1)} %`
    }
  }
  console.table(rows)
  return [...done.values()].filter(({ result }) => result !== 'killed').length
}
