/** The example as a separate process, like `npm start` runs it after building the pages. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))

export class InboxProcess {
  readonly child: ChildProcess
  /** Resolves when the process has ended. */
  readonly ended: Promise<readonly [code: number | null, signal: string | null]>
  #output = ''
  readonly #changed = new Set<() => void>()

  constructor(environment: Readonly<Record<string, string>>) {
    const child = spawn(process.execPath, ['--import', 'tsx', 'example/server/main.ts'], {
      cwd: ROOT,
      env: { ...process.env, REDIS_URL: '', NODE_ENV: '', ...environment },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    this.child = child
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk: Buffer) => {
        this.#output += chunk.toString()
        for (const notify of this.#changed) notify()
      })
    }
    this.ended = once(child, 'close') as Promise<[number | null, string | null]>
  }

  get output(): string {
    return this.#output
  }

  /** Resolves when the process has printed `text`. */
  async printed(text: string): Promise<void> {
    const seen = new Promise<void>((resolve) => {
      const check = (): void => {
        if (this.#output.includes(text)) resolve()
      }
      this.#changed.add(check)
      check()
    })
    await Promise.race([
      seen,
      this.ended.then(() => {
        if (!this.#output.includes(text))
          throw new Error(`The process ended without printing it. Its output: ${this.#output}`)
      }),
    ])
  }
}
