import { createHash } from 'node:crypto'
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { withProbes } from './probes.js'
import { root, Workspace } from './workspace.js'

/** What one test file does without a mutant. */
interface TestRun {
  readonly ms: number
  readonly passed: boolean
  /** The probes that it reaches: `<file>#<number>`. `undefined` stands for all. */
  readonly probes: readonly string[] | undefined
}

/** The runs of the test files, by file. */
export type Coverage = Readonly<Record<string, TestRun>>

/**
 * Not used: tests that depend on the text or the size of `lib`, and tests that need more than Node, Redis and some
 * seconds. So a mutant of code for a Redis Cluster may be reported as not covered.
 */
const EXCLUDED =
  /^test\/(?:browser|cluster|deploy|example|package|docs\.test|client\/size|(?:conformance|interop)\/docs)/

/** Longer than the slowest test file takes. */
const LIMIT_MS = 180_000

const CACHE = join(root, 'node_modules/.cache/sse-mutants')

/** Each process reports a probe at once: tests kill processes. */
const PRELOAD = `
import { appendFileSync } from 'node:fs'
import { threadId } from 'node:worker_threads'
const reached = new Set()
globalThis.__probe = (probe) => {
  if (reached.has(probe)) return
  reached.add(probe)
  appendFileSync(process.env.SSE_PROBES + '/' + process.pid + '-' + threadId, probe + '\\n')
}
`

/**
 * Runs each test file alone, with probes in the files of `lib`. Keeps the results: only new files are run
 * again.
 * @param folders the folders of `lib` with probes
 */
export async function measureCoverage(folders: readonly string[]): Promise<Coverage> {
  const workspace = await Workspace.create()
  try {
    const sources = await workspace.files(...folders)
    const texts = await Promise.all(sources.map((file) => workspace.read(file)))
    const cache = join(CACHE, `${createHash('sha256').update(texts.join('\0')).digest('hex').slice(0, 16)}.json`)
    const known = await readCache(cache)
    const tests = (await workspace.files('test')).filter((file) => file.endsWith('.test.ts') && !EXCLUDED.test(file))
    await Promise.all(sources.map((file, index) => workspace.write(file, withProbes(file, texts[index] as string))))
    for (const test of tests.filter((file) => known[file] === undefined)) {
      const run = await measure(workspace, test)
      console.log(
        `${String(run.ms).padStart(6)} ms  ${run.passed ? '' : 'FAILED '}${test}: ${run.probes?.length} probes`,
      )
      known[test] = run
      await mkdir(dirname(cache), { recursive: true })
      await writeFile(cache, JSON.stringify(known))
    }
    return Object.fromEntries(tests.map((test) => [test, known[test] as TestRun]))
  } finally {
    await workspace.remove()
  }
}

async function readCache(path: string): Promise<Record<string, TestRun>> {
  try {
    return JSON.parse(await readFile(path, 'utf8')) as Record<string, TestRun>
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return {}
    throw error
  }
}

async function measure(workspace: Workspace, test: string): Promise<TestRun> {
  const folder = await mkdtemp(join(tmpdir(), 'sse-probes-'))
  try {
    const preload = join(folder, 'preload.mjs')
    await writeFile(preload, PRELOAD)
    const results = join(folder, 'results')
    await mkdir(results)
    const beganAt = performance.now()
    const environment = { NODE_OPTIONS: `--import=${pathToFileURL(preload).href}`, SSE_PROBES: results }
    const outcome = await workspace.test([test], LIMIT_MS, environment)
    const ms = Math.round(performance.now() - beganAt)
    const lists = await Promise.all((await readdir(results)).map((name) => readFile(join(results, name), 'utf8')))
    const probes = [...new Set(lists.flatMap((list) => list.trim().split('\n')))].sort()
    return { ms, passed: outcome === 'passed', probes }
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}
