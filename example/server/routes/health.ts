/** For load balancers and orchestrators: whether the process is alive, and whether it is ready. */
import { Router } from 'express'
import type { Multiplexer } from 'express-sse-kit'
import type { InboxStore } from '../store/inbox-store.js'

export interface HealthOptions {
  readonly multiplexer: Multiplexer
  readonly store: InboxStore
}

export function healthRoutes({ multiplexer, store }: HealthOptions): Router {
  const router = Router()
  router.use((_, res, next) => {
    res.set('Cache-Control', 'no-store')
    next()
  })

  router.get('/healthz', (_, res) => {
    res.json({ status: 'ok' })
  })

  router.get('/readyz', async (_, res) => {
    // Both are bounded in time. The reason for a failure is in the log only, not in the answer.
    const [broker, inbox] = await Promise.allSettled([multiplexer.ping(), store.ping()])
    const ready = broker.status === 'fulfilled' && inbox.status === 'fulfilled'
    const { broker: kind, state, streams } = multiplexer.status()
    res.status(ready ? 200 : 503).json({
      status: ready ? 'ready' : 'unavailable',
      checks: { broker: broker.status === 'fulfilled', store: inbox.status === 'fulfilled' },
      broker: { kind, state },
      streams,
    })
  })

  return router
}
