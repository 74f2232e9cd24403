import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Redis } from 'ioredis'
import { freePort } from './free-port.js'

/** A real redis-server, started for the test on a free loopback port, with its data in a temporary folder. */
export class RedisServer {
  readonly port: number
  readonly #folder: string
  readonly #args: readonly string[]
  readonly #isSentinel: boolean
  #process: ChildProcess | undefined

  private constructor(port: number, folder: string, args: readonly string[], isSentinel = false) {
    this.port = port
    this.#folder = folder
    this.#args = args
    this.#isSentinel = isSentinel
  }

  /** @param args further redis-server arguments, such as `['--appendonly', 'yes']` */
  static async start(args: readonly string[] = []): Promise<RedisServer> {
    const server = new RedisServer(await freePort(), await mkdtemp(join(tmpdir(), 'sse-redis-')), args)
    return server.#started()
  }

  /** @param lines of the sentinel's configuration, such as `sentinel monitor …` */
  static async startSentinel(lines: readonly string[]): Promise<RedisServer> {
    const folder = await mkdtemp(join(tmpdir(), 'sse-sentinel-'))
    // A sentinel stores its state in its configuration file.
    const file = join(folder, 'sentinel.conf')
    await writeFile(file, lines.join('\n'))
    return new RedisServer(await freePort(), folder, [file, '--sentinel'], true).#started()
  }

  async #started(): Promise<RedisServer> {
    try {
      await this.up()
    } catch (error) {
      // A remaining child process would keep the test run alive.
      await this.stop()
      throw error
    }
    return this
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}`
  }

  /**
   * Starts the process again, on the same port and folder, and waits until it replies.
   * @param changes redis-server arguments that override those of `start`
   */
  async up(changes: readonly string[] = []): Promise<void> {
    const place = ['--port', String(this.port), '--bind', '127.0.0.1', '--dir', this.#folder]
    // A configuration file must be the first argument.
    const args = this.#isSentinel ? [...this.#args, ...place] : [...place, '--save', '', ...this.#args, ...changes]
    const child = spawn('redis-server', args, { stdio: ['ignore', 'pipe', 'pipe'] })
    this.#process = child
    // Also if the test run is aborted.
    const kill = () => child.kill('SIGKILL')
    process.once('exit', kill)
    child.once('exit', () => process.off('exit', kill))
    let output = ''
    child.once('error', (error) => {
      output = `${error.message}: the tests need redis-server on the PATH (Debian: apt-get install redis-server)`
    })
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (chunk: Buffer) => {
        output = (output + chunk.toString()).slice(-2000)
      })
    for (let attempt = 0; attempt < 200; attempt++) {
      if (child.exitCode !== null || child.pid === undefined) throw new Error(`redis-server ended: ${output}`)
      if (await answersPing(this.port)) return
      await new Promise((resolve) => setTimeout(resolve, 25))
    }
    throw new Error(`redis-server did not reply on port ${this.port}: ${output}`)
  }

  /** SIGKILL, as in a crash. */
  async kill(): Promise<void> {
    await this.#end('SIGKILL')
  }

  /** SIGTERM, an orderly shutdown. */
  async down(): Promise<void> {
    await this.#end('SIGTERM')
  }

  /** SIGSTOP: connections stay open, but Redis does not reply. */
  pause(): void {
    this.#process?.kill('SIGSTOP')
  }

  resume(): void {
    this.#process?.kill('SIGCONT')
  }

  /** Ends the process and removes its folder. Idempotent. */
  async stop(): Promise<void> {
    this.resume()
    await this.kill()
    await rm(this.#folder, { recursive: true, force: true })
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#process
    this.#process = undefined
    if (!child || child.exitCode !== null || child.signalCode !== null) return
    const ended = once(child, 'exit')
    child.kill(signal)
    await ended
  }
}

function answersPing(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1')
    const settle = (answer: boolean): void => {
      socket.destroy()
      resolve(answer)
    }
    socket.setTimeout(500, () => settle(false))
    socket.once('error', () => settle(false))
    socket.once('connect', () => socket.write('PING\r\n'))
    socket.once('data', (data) => settle(data.toString().startsWith('+PONG')))
  })
}

/** How often the server has run a command, including calls from scripts. */
export async function commandCalls(client: Redis, command: string): Promise<number> {
  const stats = await client.info('commandstats')
  return Number(new RegExp(`cmdstat_${command}:calls=(\\d+)`).exec(stats)?.[1] ?? 0)
}
