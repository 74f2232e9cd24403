import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { rmSync } from 'node:fs'
import { cp, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { transformWithOxc } from 'vite'

export const root = fileURLToPath(new URL('../../..', import.meta.url))

export type Outcome = 'passed' | 'failed' | 'timed out'

const folders = new Set<string>()
const running = new Set<ChildProcess>()

// Also if the run is aborted.
process.once('exit', () => {
  for (const child of running) endGroup(child)
  for (const folder of folders) rmSync(folder, { recursive: true, force: true })
})
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1))

/**
 * A temporary copy of the repository in which tests run. Each `.ts` file is also there as JavaScript, so that a run
 * compiles nothing. Processes that tests start with tsx use the `.ts` files.
 */
export class Workspace {
  readonly folder: string

  private constructor(folder: string) {
    this.folder = folder
    folders.add(folder)
  }

  static async create(): Promise<Workspace> {
    const workspace = new Workspace(await mkdtemp(join(tmpdir(), 'sse-mutants-')))
    for (const name of ['lib', 'test', 'example', 'bench', 'package.json', 'tsconfig.json']) {
      await cp(join(root, name), join(workspace.folder, name), { recursive: true })
    }
    await symlink(join(root, 'node_modules'), join(workspace.folder, 'node_modules'))
    for (const file of await workspace.files('lib', 'test', 'example')) {
      await workspace.write(file, await workspace.read(file))
    }
    return workspace
  }

  /** The `.ts` files in folders, by their paths from the root. */
  async files(...folders: string[]): Promise<string[]> {
    const found: string[] = []
    for (const folder of folders) {
      for (const name of await readdir(join(this.folder, folder), { recursive: true })) {
        if (name.endsWith('.ts') && !name.endsWith('.d.ts')) found.push(join(folder, name))
      }
    }
    return found.sort()
  }

  read(file: string): Promise<string> {
    return readFile(join(this.folder, file), 'utf8')
  }

  /** Writes a file and its JavaScript. @throws if it has a syntax error */
  async write(file: string, source: string): Promise<void> {
    const { code } = await transformWithOxc(source, file, { lang: 'ts', sourcemap: false, tsconfig: false })
    await writeFile(join(this.folder, file), source)
    await writeFile(join(this.folder, file.replace(/\.ts$/, '.js')), code)
  }

  /** Runs test files in one process, until the first failure. */
  test(
    files: readonly string[],
    limitMs: number,
    environment: Readonly<Record<string, string>> = {},
  ): Promise<Outcome> {
    const scripts = files.map((file) => file.replace(/\.ts$/, '.js'))
    const options = ['--no-config', '--bail', '--exit', '--timeout', '20000', '--reporter', 'dot']
    const mocha = ['node_modules/mocha/bin/mocha.js', ...options, '--require', './test/helpers/setup.js']
    return this.#run([...mocha, ...scripts], limitMs, environment)
  }

  async #run(
    args: readonly string[],
    limitMs: number,
    environment: Readonly<Record<string, string>>,
  ): Promise<Outcome> {
    const child = spawn(process.execPath, args, {
      cwd: this.folder,
      env: { ...process.env, ...environment },
      stdio: 'ignore',
      detached: true,
    })
    running.add(child)
    let isLate = false
    const timer = setTimeout(() => {
      isLate = true
      endGroup(child)
    }, limitMs)
    const [code] = (await once(child, 'exit')) as [number | null]
    clearTimeout(timer)
    // Servers that the tests left behind when they failed.
    endGroup(child)
    running.delete(child)
    return isLate ? 'timed out' : code === 0 ? 'passed' : 'failed'
  }

  async remove(): Promise<void> {
    await rm(this.folder, { recursive: true, force: true })
    folders.delete(this.folder)
  }
}

function endGroup({ pid }: ChildProcess): void {
  if (pid === undefined) return
  try {
    process.kill(-pid, 'SIGKILL')
  } catch (error) {
    // Every process of the group has ended.
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}
