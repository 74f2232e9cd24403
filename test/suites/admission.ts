import { expect } from 'chai'
import express from 'express'
import jwt from 'jsonwebtoken'
import { createRevocations, type Revocations } from '../../lib/auth/revocations.js'
import type { StreamLimitsOptions } from '../../lib/limits/streams/options.js'
import { createStreamLimits, type StreamLimits } from '../../lib/limits/streams/stream-limits.js'
import { createMultiplexer, type Multiplexer } from '../../lib/multiplexer/multiplexer.js'
import type { RedisSource } from '../../lib/redis/source.js'
import { authenticate } from '../../lib/routers/authenticate.js'
import { sseErrors } from '../../lib/routers/errors.js'
import { limitStreams } from '../../lib/routers/limit-streams.js'
import { sseMiddleware } from '../../lib/routers/sse-middleware.js'
import { createStore } from '../../lib/store/create.js'
import type { KeyValueStore } from '../../lib/store/store.js'
import type { StreamOptions } from '../../lib/stream/options.js'
import { eventually } from '../helpers/eventually.js'
import { serve, type TestServer } from '../helpers/http-server.js'
import { SseClient } from '../helpers/sse-client.js'

const SECRET = 'a secret of thirty-two bytes or more'

/** Simulates a process. */
interface Process {
  readonly server: TestServer
  readonly multiplexer: Multiplexer
  readonly limits: StreamLimits
  readonly revocations: Revocations
  /** The number of polls whose channels have been determined. */
  polls: number
  /** The route waits for this gate between authentication and its stream or poll. */
  beforeOpening: () => Promise<void> | void
  stop(): Promise<void>
}

/** Blocks one caller until it is opened. */
class Gate {
  readonly reached: Promise<void>
  open!: () => void
  #onReached!: () => void
  readonly #opened: Promise<void>

  constructor() {
    this.reached = new Promise((resolve) => {
      this.#onReached = resolve
    })
    this.#opened = new Promise((resolve) => {
      this.open = resolve
    })
  }

  pass(): Promise<void> {
    this.#onReached()
    return this.#opened
  }
}

/**
 * Which users may open and keep a stream, over HTTP.
 * @param redis returns the Redis that the processes share; absent: there is one process
 */
export function admissionSuite(name: string, redis: () => RedisSource | undefined): void {
  describe(`streams on ${name}`, () => {
    let processes: Process[]
    let clients: SseClient[]
    let prefix: string
    let number = 0
    let shared: KeyValueStore | undefined

    beforeEach(() => {
      processes = []
      clients = []
      prefix = `admission:${name}:${++number}:`
      shared = redis() === undefined ? createStore() : undefined
    })
    afterEach(async () => {
      for (const client of clients) client.close()
      for (const process of processes) await process.stop()
      await shared?.close()
    })

    async function start(options: StreamLimitsOptions = {}, stream: StreamOptions = {}): Promise<Process> {
      const where = redis()
      const limits = createStreamLimits({ redis: where, prefix, ...options })
      const store = shared ?? createStore({ redis: where, prefix })
      const revocations = createRevocations({ store, cacheMs: 0 })
      const multiplexer = createMultiplexer({
        redis: where,
        prefix,
        lingerMs: 0,
        streamLimits: limits,
        stream: { ...stream, revocations },
      })
      const app = express()
      app.use(authenticate({ secret: SECRET, revocations, optional: true }), sseMiddleware({ ...stream, revocations }))
      app.get(
        '/',
        multiplexer.stream(async (req) => {
          await process.beforeOpening()
          return String(req.query.channel ?? 'log')
        }),
      )
      app.put(
        '/',
        multiplexer.stream(() => 'log'),
      )
      app.get(
        '/poll',
        multiplexer.poll(async () => {
          await process.beforeOpening()
          process.polls++
          return 'log'
        }),
      )
      app.get('/own', limitStreams(limits), async (_, res, next) => {
        await process.beforeOpening()
        try {
          res.sse()
        } catch (error) {
          next(error)
        }
      })
      app.use(sseErrors())
      const server = await serve(app)
      const process: Process = {
        server,
        multiplexer,
        limits,
        revocations,
        polls: 0,
        beforeOpening: () => undefined,
        stop: async () => {
          await multiplexer.close()
          await server.stop()
          await eventually(() => limits.size === 0)
          await limits.close()
          if (store !== shared) await store.close()
        },
      }
      processes.push(process)
      return process
    }

    const tokenOf = (user: string, tenant = 'acme'): string =>
      jwt.sign({ tenant, iat: Math.floor(Date.now() / 1000) - 5 }, SECRET, { subject: user, expiresIn: 600 })

    async function open({ server }: Process, user: string, path = '/'): Promise<SseClient> {
      const client = await SseClient.open(`${server.url}${path}`, { authorization: `Bearer ${tokenOf(user)}` })
      clients.push(client)
      if (client.status === 200) await client.until(({ raw }) => raw !== '')
      return client
    }

    async function problemOf(client: SseClient): Promise<object> {
      await client.ended()
      return { status: client.status, retryAfter: client.headers['retry-after'], ...JSON.parse(client.raw) }
    }

    for (const path of ['/', '/own']) {
      it(`are refused above the user's limit (${path})`, async () => {
        const process = await start({ perUser: 2 })
        const [first] = [await open(process, 'ada', path), await open(process, 'ada', path)]
        const refused = { status: 429, code: 'ERR_SSE_STREAM_LIMIT', scope: 'user', cap: 2, retryAfter: '10' }
        expect(await problemOf(await open(process, 'ada', path))).to.include(refused)
        expect((await open(process, 'bob', path)).status).to.equal(200)
        first?.close()
        await eventually(() => process.limits.size === 2)
        expect((await open(process, 'ada', path)).status).to.equal(200)
      })

      it(`replace the user's oldest stream with evictOldest (${path})`, async () => {
        const process = await start({ perUser: 2, evictOldest: true })
        const [first, second, third] = [
          await open(process, 'ada', path),
          await open(process, 'ada', path),
          await open(process, 'ada', path),
        ]
        expect(JSON.parse((await first?.control('sse.close'))?.data ?? '')).to.deep.equal({ reason: 'evicted' })
        await first?.ended()
        expect(first?.retry, 'for clients that do not know sse.close').to.equal(3_600_000)
        expect([second?.closed, third?.closed]).to.deep.equal([false, false])
      })

      it(`end when their token is revoked (${path})`, async () => {
        const process = await start()
        const [ada, bob] = [await open(process, 'ada', path), await open(process, 'bob', path)]
        await process.revocations.revoke({ user: 'ada', tenant: 'acme' })
        expect(JSON.parse((await ada.control('sse.expired')).data)).to.deep.equal({ reason: 'revoked' })
        await ada.ended()
        expect(await problemOf(await open(process, 'ada', path))).to.include({
          status: 401,
          code: 'ERR_SSE_TOKEN_REVOKED',
        })
        expect(bob.closed).to.equal(false)
      })
    }

    for (const path of ['/', '/own']) {
      it(`are refused if their token is revoked while they open (${path})`, async () => {
        const process = await start()
        const gate = new Gate()
        process.beforeOpening = () => gate.pass()
        const opening = SseClient.open(`${process.server.url}${path}`, { authorization: `Bearer ${tokenOf('ada')}` })
        await gate.reached
        await process.revocations.revoke({ user: 'ada', tenant: 'acme' })
        gate.open()
        const client = await opening
        clients.push(client)
        expect(await problemOf(client)).to.include({ status: 401, code: 'ERR_SSE_TOKEN_REVOKED' })
        await eventually(() => process.limits.size === 0)
        expect(process.multiplexer.status()).to.include({ streams: 0, channels: 0 })
      })
    }

    it('and polls are refused if their token expires before they begin', async () => {
      const process = await start()
      const gate = new Gate()
      process.beforeOpening = () => gate.pass()
      const token = jwt.sign({ tenant: 'acme' }, SECRET, { subject: 'ada', expiresIn: 2 })
      const { exp = 0 } = jwt.decode(token) as jwt.JwtPayload
      const polled = fetch(`${process.server.url}/poll`, { headers: { authorization: `Bearer ${token}` } })
      await gate.reached
      await eventually(() => Date.now() >= exp * 1000)
      gate.open()
      const refused = await polled
      expect([refused.status, (await refused.json()).code]).to.deep.equal([401, 'ERR_SSE_TOKEN_EXPIRED'])
      await eventually(() => process.multiplexer.status().channels === 0)
    })

    it('and polls that wait or open are refused when their token is revoked', async () => {
      const process = await start()
      const poll = (user: string): Promise<Response> =>
        fetch(`${process.server.url}/poll?wait=20000`, { headers: { authorization: `Bearer ${tokenOf(user)}` } })
      const [ada, bob] = [poll('ada'), poll('bob')]
      await eventually(() => process.polls === 2)
      const gate = new Gate()
      process.beforeOpening = () => gate.pass()
      const opening = poll('ada')
      await gate.reached
      await process.revocations.revoke({ user: 'ada', tenant: 'acme' })
      gate.open()
      for (const refused of [await ada, await opening]) {
        expect([refused.status, (await refused.json()).code]).to.deep.equal([401, 'ERR_SSE_TOKEN_REVOKED'])
      }
      await process.multiplexer.publish('log', { data: 'x' })
      const answer = await bob
      expect([answer.status, (await answer.json()).events.length]).to.deep.equal([200, 1])
      await eventually(() => process.multiplexer.status().channels === 0)
    })

    it('are refused with a stream that ends, so that a native EventSource reconnects', async () => {
      const process = await start({ perUser: 1 }, { refuseWith: 'stream' })
      await open(process, 'ada')
      const refused = await open(process, 'ada')
      expect(refused.status).to.equal(200)
      const { reason, afterMs } = JSON.parse((await refused.control('sse.reconnect')).data)
      expect(reason).to.equal('limited')
      expect(afterMs).to.be.within(15_000, 45_000)
      await refused.ended()
    })

    it('that fail, end immediately or are aborted take no place in the limits', async () => {
      const process = await start({ perUser: 1, opensPerMinute: 0 })
      const headers = { authorization: `Bearer ${tokenOf('ada')}` }
      expect((await open(process, 'ada', '/?channel=a*')).status).to.equal(400)
      expect((await fetch(process.server.url, { method: 'PUT', headers })).status).to.equal(405)
      expect((await fetch(process.server.url, { method: 'HEAD', headers })).status).to.equal(200)
      for (const path of ['/', '/own']) {
        for (let attempt = 0; attempt < 5; attempt++) {
          const gone = new AbortController()
          const request = fetch(`${process.server.url}${path}`, { headers, signal: gone.signal }).catch(() => undefined)
          await new Promise((resolve) => setTimeout(resolve, attempt))
          gone.abort()
          await request
        }
        await eventually(() => process.limits.size === 0)
      }
      // An aborted request may reach a busy server late, and then holds its place for a moment.
      await eventually(async () => (await open(process, 'ada')).status === 200)
    })

    if (name === 'memory') return

    it('count against the limits of all processes', async () => {
      const [one, two] = [await start({ perUser: 2 }), await start({ perUser: 2 })]
      await open(one, 'ada')
      const second = await open(two, 'ada')
      for (const process of [one, two]) expect((await open(process, 'ada')).status).to.equal(429)
      second.close()
      await eventually(async () => (await open(one, 'ada')).status === 200)
    })

    it('replace the oldest stream on another process, which is notified immediately', async () => {
      const options = { perUser: 1, evictOldest: true, leaseMs: 3_600_000 }
      const [one, two] = [await start(options), await start(options)]
      const first = await open(one, 'ada')
      const second = await open(two, 'ada')
      expect(JSON.parse((await first.control('sse.close')).data)).to.deep.equal({ reason: 'evicted' })
      await eventually(() => one.limits.size === 0)
      expect(second.closed).to.equal(false)
    })

    it('end on all processes when one process revokes their token', async () => {
      const [one, two] = [await start(), await start()]
      const [ada, bob] = [await open(two, 'ada'), await open(two, 'bob')]
      await one.revocations.revoke({ user: 'ada', tenant: 'acme' })
      expect(JSON.parse((await ada.control('sse.expired')).data)).to.deep.equal({ reason: 'revoked' })
      await ada.ended()
      expect(bob.closed).to.equal(false)
      await one.revocations.revoke({ tenant: 'acme' })
      await bob.control('sse.expired')
    })

    it('keep their limits and revocations when one of several multiplexers closes', async () => {
      const options = { perUser: 1, evictOldest: true, leaseMs: 3_600_000 }
      const [one, two] = [await start(options), await start(options)]
      const more = createMultiplexer({
        redis: redis(),
        prefix,
        streamLimits: one.limits,
        stream: { revocations: one.revocations },
      })
      await more.ping()
      await more.close()
      const first = await open(two, 'ada')
      await open(one, 'ada')
      expect(JSON.parse((await first.control('sse.close')).data)).to.deep.equal({ reason: 'evicted' })
      const bob = await open(two, 'bob')
      await one.revocations.revoke({ user: 'bob', tenant: 'acme' })
      expect(JSON.parse((await bob.control('sse.expired')).data)).to.deep.equal({ reason: 'revoked' })
    })
  })
}
