import express from 'express'
import { createPacing, type Pacing } from '../../lib/limits/pacing/pacing.js'
import { createStreamLimits } from '../../lib/limits/streams/stream-limits.js'
import { createMultiplexer } from '../../lib/multiplexer/multiplexer.js'
import { createMetrics } from '../../lib/observe/metrics.js'
import { metrics } from '../../lib/routers/metrics.js'
import { type RateLimitHandler, rateLimit } from '../../lib/routers/rate-limit.js'
import { createPressure } from '../../lib/stream/pressure.js'
import { freePort } from '../helpers/free-port.js'
import { serve, type TestServer } from '../helpers/http-server.js'

/**
 * A site that exercises every metric. Streams: `/events?channel=` (at most seven are open), `/paced`, `/dropping` (both
 * on `load`), `/pressing`, whose queue alone puts the process under pressure. Limiters: `/limited`, and `/open` and
 * `/closed`, whose Redis does not reply. Also `/poll`, `/ack`, `/metrics`.
 */
export class MixedSite {
  readonly multiplexer
  readonly metrics
  readonly streamLimits
  readonly #limiters: readonly RateLimitHandler[]
  #server: TestServer | undefined

  private constructor(redis: string, nowhere: string) {
    const pressure = createPressure({ maxQueuedBytes: 300_000, maxLoopDelayMs: 0, sustainMs: 30_000 })
    const streamLimits = createStreamLimits({ redis, perProcess: 7 })
    this.streamLimits = streamLimits
    this.multiplexer = createMultiplexer({ redis, streamLimits, stream: { pressure } })
    this.metrics = createMetrics({ multiplexer: this.multiplexer, streamLimits })
    const limit = { by: 'ip', points: 3, duration: 3600 } as const
    this.#limiters = [
      rateLimit({ ...limit, redis }),
      rateLimit({ ...limit, redis: nowhere, onError: 'open' }),
      rateLimit({ ...limit, redis: nowhere, onError: 'closed' }),
    ]
  }

  static async start(redis: string): Promise<MixedSite> {
    const site = new MixedSite(redis, `redis://127.0.0.1:${await freePort()}`)
    site.#server = await serve(site.#app())
    return site
  }

  get url(): string {
    return this.#server?.url ?? ''
  }

  async stop(): Promise<void> {
    await Promise.all(this.#limiters.map((limiter) => limiter.close()))
    await this.#server?.stop()
    await this.multiplexer.close()
    await this.streamLimits.close()
    this.metrics.close()
  }

  #app(): express.Express {
    const app = express()
    const { multiplexer } = this
    app.use((req, _res, next) => {
      req.auth = { user: 'dana', tenant: 'acme', expiresAt: Date.now() + 3_600_000, claims: {} }
      next()
    })
    const byQuery = multiplexer.stream((req) => String(req.query.channel))
    const paced = multiplexer.stream(() => 'load', { pacing: pacing(5, 200) })
    const queue = { queuePolicy: 'drop-oldest', queueEvents: 8, queueBytes: 10_000_000 } as const
    const dropping = multiplexer.stream(() => 'load', { ...queue, pacing: pacing(2, 4) })
    const pressing = multiplexer.stream(() => 'pressing', { ...queue, pacing: pacing(1, 4) })
    app.get('/events', byQuery).get('/paced', paced).get('/dropping', dropping).get('/pressing', pressing)
    const poll = multiplexer.poll(() => 'load')
    app.get('/poll', poll).post('/ack', multiplexer.ack())
    for (const [i, path] of ['limited', 'open', 'closed'].entries()) {
      app.get(`/${path}`, this.#limiters[i] as RateLimitHandler, (_req, res) => void res.end())
    }
    return app.use('/metrics', metrics(this.metrics))
  }
}

function pacing(capacity: number, refillPerSecond: number): Pacing {
  return createPacing({ stream: { capacity, refillPerSecond } })
}
