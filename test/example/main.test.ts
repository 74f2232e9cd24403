import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { expect } from 'chai'
import { freePort } from '../helpers/redis-server.js'
import { SseClient } from '../helpers/sse-client.js'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))

describe("the example's process", function () {
  // A process of its own compiles all it imports.
  this.timeout(60_000)
  let child: ChildProcess | undefined

  afterEach(() => {
    child?.kill('SIGKILL')
  })

  interface Run {
    readonly process: ChildProcess
    readonly output: () => string
    /** Resolves when this was printed. */
    printed(text: string): Promise<void>
    ended(): Promise<readonly [code: number | null, signal: string | null]>
  }

  function run(environment: Readonly<Record<string, string>>): Run {
    const started = spawn(process.execPath, ['--import', 'tsx', 'example/server/main.ts'], {
      cwd: ROOT,
      env: { ...process.env, REDIS_URL: '', NODE_ENV: '', ...environment },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    child = started
    let text = ''
    const changed = new Set<() => void>()
    for (const stream of [started.stdout, started.stderr]) {
      stream.on('data', (chunk: Buffer) => {
        text += chunk.toString()
        for (const notify of changed) notify()
      })
    }
    const exit = once(started, 'close') as Promise<[number | null, string | null]>
    return {
      process: started,
      output: () => text,
      async printed(wanted) {
        const seen = new Promise<void>((resolve) => {
          const look = (): void => {
            if (text.includes(wanted)) resolve()
          }
          changed.add(look)
          look()
        })
        await Promise.race([
          seen,
          exit.then(() => {
            if (!text.includes(wanted)) throw new Error(`it ended first, having said: ${text}`)
          }),
        ])
      },
      ended: () => exit,
    }
  }

  it('serves, and on SIGTERM ends its open streams and itself with code 0', async () => {
    const port = await freePort()
    const inbox = run({ PORT: String(port) })
    const url = `http://localhost:${port}`
    await inbox.printed(`Inbox on ${url} (embedded`)
    expect(inbox.output()).to.contain('JWT_SECRET is not set')
    expect((await fetch(`${url}/healthz`)).status).to.equal(200)
    const login = await fetch(`${url}/api/v1/auth/login`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ user: 'dana', tenant: 'acme' }),
    })
    const { token } = (await login.json()) as { token: string }
    const stream = await SseClient.open(`${url}/api/v1/sse/conversations`, { authorization: `Bearer ${token}` })
    await stream.control('sse.open')
    const before = performance.now()
    inbox.process.kill('SIGTERM')
    expect(JSON.parse((await stream.control('sse.reconnect')).data)).to.have.property('reason', 'shutdown')
    await stream.ended()
    expect(await inbox.ended()).to.deep.equal([0, null])
    expect(performance.now() - before).to.be.lessThan(5000)
  })

  it('refuses to start in production without its secrets, and says which', async () => {
    const inbox = run({ NODE_ENV: 'production', PORT: '0' })
    expect(await inbox.ended()).to.deep.equal([1, null])
    expect(inbox.output()).to.contain('Cannot start: JWT_SECRET must be set in production')
  })
})
