/** The code of the README: packed.test.ts compiles it against the packed package. */
import express from 'express'
import {
  authenticate,
  conversationStreams,
  createMultiplexer,
  createPacing,
  createPressure,
  createRevocations,
  createStore,
  createStreamLimits,
  dashboardInit,
  limitStreams,
  logDrops,
  openStream,
  rateLimit,
  redactUrl,
  sseErrors,
  sseMiddleware,
  tickets,
  webhooks,
} from 'express-sse-kit'
import { createEventBus } from 'express-sse-kit/bus'
import { createEventStream } from 'express-sse-kit/client'
import { SseProvider, useSSE, useSSEState } from 'express-sse-kit/react'

const secret = 'a secret of at least 32 bytes, please'
const redis = process.env.REDIS_URL
const app = express()
app.use(sseMiddleware())

app.get('/clock', (_req, res) => {
  const stream = res.sse()
  const timer = setInterval(() => stream.send({ event: 'tick', data: { now: Date.now() } }), 1000)
  stream.signal.addEventListener('abort', () => clearInterval(timer))
})

const store = createStore({ redis })
const revocations = createRevocations({ store })
const streamLimits = createStreamLimits({ redis, perUser: 20, perTenant: 2000 })
const pressure = createPressure({ maxQueuedBytes: 64 * 1024 * 1024, maxLoopDelayMs: 500 })
const pacing = createPacing({ stream: 'dashboard', user: { capacity: 100, refillPerSecond: 50 } })
const multiplexer = createMultiplexer({ redis, streamLimits, stream: { pressure, pacing, revocations } })
const stopLogging: () => void = logDrops({ write: ({ reason, drops_total }) => console.log(reason, drops_total) })
const failureLimit = rateLimit({ by: 'ip', name: 'signatures', points: 20, duration: 60 })
app.use(
  '/webhooks',
  webhooks({ secrets: 's', verifyToken: 'v', onMessage: async ({ text }) => void text, failureLimit }),
)
app.use(authenticate({ secret, tickets: store, revocations }))
app.use(rateLimit({ by: 'user', points: 1000, duration: 60 }))
app.use('/api/v1/sse/tickets', tickets({ store }))
app.get('/limited', limitStreams(streamLimits), (_req, res) => void res.sse())

const router = express.Router()
router.get(
  '/orders',
  multiplexer.stream((req) => [`orders:${req.auth.tenant}`]),
)
router.get(
  '/poll/orders',
  multiplexer.poll((req) => [`orders:${req.auth.tenant}`]),
)
router.post('/orders/ack', multiplexer.ack())
app.use(router)
app.use(
  '/api/v1/sse',
  conversationStreams({ multiplexer, authorize: (auth, conversationId) => auth.tenant !== conversationId }),
)
app.use(
  '/api/v1/dashboard',
  dashboardInit({ load: ({ user }) => ({ profile: { user }, tenant: {}, features: {}, channels: [] }) }),
)
app.use(sseErrors())

export async function main(): Promise<string> {
  const { epoch, offset } = await multiplexer.publish('orders:acme', { event: 'order', data: { id: 7 } })
  const cursor: string = await multiplexer.cursor(['orders:acme'])
  const client = createEventStream('/orders', { cursor, token: async () => 'token' })
  client.on('order', ({ data }) => void JSON.parse(data))
  client.close()
  const bus = createEventBus({ token: () => 'token', tabs: true, identity: 'dana' })
  bus.stream('/orders', { cursor }).on('order', (event) => void event.json())
  const typed = createEventStream<{ order: { id: number } }>('/orders')
  typed.on('order', (event) => event.json().id.toFixed())
  await revocations.revoke({ user: 'dana', tenant: 'acme' })
  stopLogging()
  await multiplexer.close({ windowMs: 10_000 })
  const types = [openStream, useSSE, useSSEState, SseProvider].map((value) => typeof value)
  return `${epoch}-${offset} ${types.join(' ')} ${redactUrl('/?token=x')}`
}
