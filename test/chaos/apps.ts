/** The processes under test: `app.ts`, each with its own connections to Redis. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { History } from '../proof/checker/history.js'
import { type Source, sleep } from './topology.js'

/** The time within which a process must exit after SIGTERM. */
const END_MS = 8000
/** The time within which the processes must release the state of disconnected clients. */
const IDLE_MS = 20_000

export interface App {
  readonly number: number
  readonly child: ChildProcess
  readonly url: string
  errors: string
}

export async function startApp(number: number, source: Source): Promise<App> {
  const file = fileURLToPath(new URL('app.ts', import.meta.url))
  const child = spawn(process.execPath, ['--trace-warnings', '--import', 'tsx', file, JSON.stringify(source)], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const kill = () => child.kill('SIGKILL')
  process.once('exit', kill)
  child.once('exit', () => process.off('exit', kill))
  let errors = ''
  child.stderr.on('data', (chunk: Buffer) => {
    errors = (errors + chunk.toString()).slice(-100_000)
  })
  const ended = once(child, 'exit').then(() => {
    throw new Error(`process ${number} did not start: ${errors}`)
  })
  const [port] = (await Promise.race([once(createInterface(child.stdout), 'line'), ended])) as [string]
  // Later exits are caused by the run itself.
  ended.catch(() => undefined)
  return {
    number,
    child,
    url: `http://127.0.0.1:${port}`,
    get errors() {
      return errors
    },
  }
}

export async function end(app: App, history: History): Promise<number> {
  const beganAt = performance.now()
  if (app.child.exitCode !== null || app.child.signalCode !== null) {
    history.violate(`process ${app.number} ended by itself: ${app.errors}`)
    return 0
  }
  const ended = once(app.child, 'exit')
  app.child.kill('SIGTERM')
  const late = setTimeout(() => {
    history.violate(`process ${app.number} did not end within ${END_MS} ms`)
    app.child.kill('SIGKILL')
  }, END_MS)
  const [code] = await ended
  clearTimeout(late)
  if (code !== 0 && code !== null) history.violate(`process ${app.number} ended with ${code}: ${app.errors}`)
  return Math.round(performance.now() - beganAt)
}

/** Waits until the processes hold no state of disconnected clients. */
export async function awaitIdle({ url, number }: App, history: History): Promise<void> {
  const deadline = Date.now() + IDLE_MS
  for (;;) {
    const { streams, channels } = (await (await fetch(`${url}/status`)).json()) as Record<string, number>
    if (streams === 0 && channels === 0) return
    if (Date.now() > deadline) {
      history.violate(`process ${number} still has ${streams} streams and ${channels} channels without clients`)
      return
    }
    await sleep(100)
  }
}

/** Measures the memory of all processes. `stop` ends that and returns the maximum of one process, in bytes. */
export function watchMemory(apps: readonly App[]): { stop(): number } {
  let max = 0
  const measure = async ({ url }: App): Promise<void> => {
    const { rss } = (await (await fetch(`${url}/status`)).json()) as { rss: number }
    max = Math.max(max, rss)
  }
  const watching = setInterval(() => void Promise.allSettled(apps.map(measure)), 1000)
  return {
    stop: () => {
      clearInterval(watching)
      return max
    },
  }
}
