import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'

export interface ServerProgram {
  /** The name of the program, on the PATH, or its path. */
  readonly command: string
  /** The Debian package that has it, for the error message. */
  readonly debian: string
  readonly args: readonly string[]
  /** The files in its folder, by name. */
  readonly files: Readonly<Record<string, string>>
  /** Links in its folder: what they point to, by name. The names may be in folders. */
  readonly links?: Readonly<Record<string, string>>
  /** Added to the environment. */
  readonly environment?: Readonly<Record<string, string>>
  /** The signal that ends it with its connections. @defaultValue 'SIGTERM' */
  readonly endSignal?: NodeJS.Signals
}

const running = new Set<ServerProcess>()

// Also if the test run is aborted.
process.once('exit', () => {
  for (const server of running) server.end()
})

/** A server program that a test starts, with its files in a temporary folder. */
export class ServerProcess {
  readonly folder: string
  readonly #child: ChildProcess
  readonly #endSignal: NodeJS.Signals
  #log = ''

  private constructor(folder: string, child: ChildProcess, endSignal: NodeJS.Signals) {
    this.folder = folder
    this.#child = child
    this.#endSignal = endSignal
    const append = (chunk: Buffer): void => {
      this.#log = (this.#log + chunk.toString()).slice(-2000)
    }
    child.stdout?.on('data', append)
    child.stderr?.on('data', append)
  }

  /**
   * Resolves when the process has started, which may be before it serves.
   * @param program gets the folder, which is its working directory
   */
  static async start(name: string, program: (folder: string) => ServerProgram): Promise<ServerProcess> {
    const folder = await mkdtemp(join(tmpdir(), `sse-${name}-`))
    try {
      const { command, debian, args, files, links = {}, environment = {}, endSignal = 'SIGTERM' } = program(folder)
      for (const [file, text] of Object.entries(files)) await writeFile(join(folder, file), text)
      for (const [link, target] of Object.entries(links)) {
        await mkdir(dirname(join(folder, link)), { recursive: true })
        await symlink(target, join(folder, link))
      }
      const child = spawn(command, args, {
        cwd: folder,
        env: { ...process.env, ...environment },
        stdio: ['ignore', 'pipe', 'pipe'],
      })
      const server = new ServerProcess(folder, child, endSignal)
      running.add(server)
      child.once('exit', () => running.delete(server))
      await once(child, 'spawn').catch((cause: unknown) => {
        throw new Error(`The tests need ${command} on the PATH (Debian: apt-get install ${debian})`, { cause })
      })
      return server
    } catch (error) {
      await rm(folder, { recursive: true, force: true })
      throw error
    }
  }

  /** @throws if the process has ended, with the end of its output */
  assertRunning(): void {
    const { exitCode, signalCode, spawnfile } = this.#child
    if (exitCode !== null || signalCode !== null) throw new Error(`${spawnfile} ended: ${this.#log}`)
  }

  /** Creates or replaces a file in the folder. */
  async write(name: string, text: string): Promise<void> {
    await writeFile(join(this.folder, name), text)
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal)
  }

  /** Sends the signal that ends the process. */
  end(): void {
    this.signal(this.#endSignal)
  }

  /** Ends the process with its connections, and removes its folder. Idempotent. */
  async stop(): Promise<void> {
    const child = this.#child
    if (child.exitCode === null && child.signalCode === null) {
      const ended = once(child, 'exit')
      this.end()
      await ended
    }
    await rm(this.folder, { recursive: true, force: true })
  }
}
