import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Readable } from 'node:stream'
import { expect } from 'chai'
import { Redis } from 'ioredis'
import type { StreamLimitsOptions } from '../../../lib/limits/streams/options.js'
import { eventually } from '../../helpers/eventually.js'
import { FakeClock } from '../../helpers/fake-clock.js'
import { createStreamLimits, type StreamLimits } from '../../helpers/internals.js'
import { RedisServer } from '../../helpers/redis-server.js'
import { script } from '../../helpers/script.js'
import { TcpProxy } from '../../helpers/tcp-proxy.js'
import { owner, refusalOf, TestStream } from '../../suites/stream-limits.js'

const HOLDER = new URL('paused-holder.ts', import.meta.url)
const USER_KEY = 'sse:{streams}:user:acme:ada'
const TENANT_KEY = 'sse:{streams}:tenant:acme'
const LEASE_MS = 1000

describe('expired stream leases', () => {
  let server: RedisServer
  let redis: Redis
  const undo: (() => Promise<unknown> | unknown)[] = []

  before(async () => {
    server = await RedisServer.start()
    redis = new Redis(server.url)
  })

  after(async () => {
    redis.disconnect()
    await server.stop()
  })

  afterEach(async () => {
    for (const step of undo.splice(0).reverse()) await step()
    await redis.flushall()
  })

  function start(options: StreamLimitsOptions): StreamLimits {
    const limits = createStreamLimits({ redis: server.url, leaseMs: LEASE_MS, ...options })
    undo.push(() => limits.close())
    return limits
  }

  type Holder = ChildProcessByStdio<null, Readable, null>

  /** Starts a process that holds streams of the user ada. @returns the process and the lines that it prints */
  async function hold(count: number, options: StreamLimitsOptions): Promise<[Holder, string[]]> {
    const args = [await script(HOLDER), server.url, String(count), JSON.stringify({ leaseMs: LEASE_MS, ...options })]
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
    undo.push(async () => {
      child.kill('SIGKILL')
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
    })
    const lines: string[] = []
    child.stdout.on('data', (data: Buffer) => lines.push(...data.toString().trim().split('\n')))
    await eventually(() => lines.includes('held'))
    return [child, lines]
  }

  /** Stops the process until its leases have expired. */
  async function pause(child: Holder): Promise<void> {
    child.kill('SIGSTOP')
    await eventually(async () => {
      const [seconds, micros] = await redis.time()
      const now = Number(seconds) * 1000 + Number(micros) / 1000
      return (await redis.zcount(USER_KEY, now, '+inf')) === 0
    })
  }

  async function validLeases(key: string): Promise<number> {
    const [seconds, micros] = await redis.time()
    return redis.zcount(key, Number(seconds) * 1000 + Number(micros) / 1000, '+inf')
  }

  it('end the streams of a suspended process whose places were taken', async () => {
    const [child, lines] = await hold(2, { perUser: 2 })
    await pause(child)
    const limits = start({ perUser: 2 })
    const streams = [await TestStream.open(limits, owner('ada')), await TestStream.open(limits, owner('ada'))]
    child.kill('SIGCONT')
    await eventually(() => lines.length === 3)
    expect(lines).to.deep.equal(['held', 'limited held0', 'limited held1'])
    expect(streams.map(({ closed }) => closed)).to.deep.equal([undefined, undefined])
    expect(await validLeases(USER_KEY)).to.equal(2)
    expect(await refusalOf(TestStream.open(limits, owner('ada')))).to.include({ scope: 'user' })
  })

  it('are renewed for the oldest streams for which there are places', async () => {
    const [child, lines] = await hold(3, { perUser: 3 })
    await pause(child)
    const limits = start({ perUser: 3 })
    await TestStream.open(limits, owner('ada'))
    child.kill('SIGCONT')
    await eventually(() => lines.length === 2)
    expect(lines).to.deep.equal(['held', 'limited held2'])
    expect(await validLeases(USER_KEY)).to.equal(3)
  })

  it('are renewed if their places were not taken', async () => {
    const [child, lines] = await hold(2, { perUser: 2 })
    await pause(child)
    child.kill('SIGCONT')
    await eventually(async () => (await validLeases(USER_KEY)) === 2)
    expect(lines).to.deep.equal(['held'])
    expect(await refusalOf(TestStream.open(start({ perUser: 2 }), owner('ada')))).to.include({ scope: 'user' })
  })

  it('are refused if any of their scopes is full, and are removed from the other scopes', async () => {
    const [child, lines] = await hold(1, { perTenant: 1 })
    await pause(child)
    const limits = start({ perTenant: 1 })
    await TestStream.open(limits, owner('bob'))
    child.kill('SIGCONT')
    await eventually(() => lines.length === 2)
    expect(lines).to.deep.equal(['held', 'limited held0'])
    await eventually(async () => (await redis.zcard(USER_KEY)) === 0)
    expect(await validLeases(TENANT_KEY)).to.equal(1)
  })

  it('evict no stream, because the streams that took the places are newer', async () => {
    const [child, lines] = await hold(2, { perUser: 2, evictOldest: true })
    await pause(child)
    const limits = start({ perUser: 2, evictOldest: true })
    const streams = [await TestStream.open(limits, owner('ada')), await TestStream.open(limits, owner('ada'))]
    child.kill('SIGCONT')
    await eventually(() => lines.length === 3)
    expect(lines).to.deep.equal(['held', 'evicted held0', 'evicted held1'])
    expect(streams.map(({ closed }) => closed)).to.deep.equal([undefined, undefined])
  })

  it('compete for places when their process reconnects to Redis, and do not count as openings', async () => {
    const proxy = await TcpProxy.start(server.port)
    undo.push(() => proxy.stop())
    const cut = start({ redis: `redis://127.0.0.1:${proxy.port}`, perUser: 2, opensPerMinute: 2, timeoutMs: 200 })
    const [first, second] = [await TestStream.open(cut, owner('ada')), await TestStream.open(cut, owner('ada'))]
    proxy.freeze()
    await eventually(async () => (await validLeases(USER_KEY)) === 0)
    const other = start({ perUser: 2, opensPerMinute: 0 })
    const third = await TestStream.open(other, owner('ada'))
    proxy.breakConnections()
    await eventually(() => second.closed !== undefined)
    expect([first.closed, second.closed, third.closed]).to.deep.equal([undefined, 'limited', undefined])
    await eventually(async () => (await validLeases(USER_KEY)) === 2)
    expect(cut.size).to.equal(1)
  })

  it('are detected soon after a suspension of the machine, long before the next renewal', async () => {
    const clock = new FakeClock()
    const suspended = start({ perUser: 1, leaseMs: 3_600_000, clock })
    const old = await TestStream.open(suspended, owner('ada'))
    // During the suspension the lease expired, and another process took the place.
    await redis.del(USER_KEY, TENANT_KEY)
    const other = await TestStream.open(start({ perUser: 1 }), owner('ada'))
    clock.setWallClock(3_600_000)
    clock.advance(1000)
    await eventually(() => old.closed !== undefined)
    expect([old.closed, other.closed]).to.deep.equal(['limited', undefined])
    // Its later streams are not older than the streams that other processes opened during the suspension.
    await TestStream.open(suspended, owner('bob'))
    const [member = ''] = await redis.zrange('sse:{streams}:user:acme:bob', 0, -1)
    expect(Number(member.split(':')[0])).to.equal(clock.wallTime())
  })
})
