/** The README's code, as a user's TypeScript sees it: compiled against the packed package by packed.test.ts. */
import express from 'express'
import {
  authenticate,
  conversationStreams,
  createMultiplexer,
  dashboardInit,
  openStream,
  sseErrors,
  sseMiddleware,
  webhooks,
} from 'express-sse-kit'
import { createEventStream } from 'express-sse-kit/client'
import { useSSE } from 'express-sse-kit/react'

const secret = 'a secret of at least 32 bytes, please'
const redis = process.env.REDIS_URL
const app = express()
app.use(sseMiddleware())

app.get('/clock', (_req, res) => {
  const stream = res.sse()
  const timer = setInterval(() => stream.send({ event: 'tick', data: { now: Date.now() } }), 1000)
  stream.signal.addEventListener('abort', () => clearInterval(timer))
})

const multiplexer = createMultiplexer({ redis })
app.use('/webhooks', webhooks({ secrets: 's', verifyToken: 'v', onMessage: async ({ text }) => void text }))
app.use(authenticate({ secret }))

const router = express.Router()
router.get(
  '/orders',
  multiplexer.stream((req) => [`orders:${req.auth.tenant}`]),
)
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
  return `${epoch}-${offset} ${typeof openStream} ${typeof useSSE}`
}
