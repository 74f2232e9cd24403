/**
 * The API of a messaging dashboard, with usual sizes and authentication, and the kit's routers. Both contestants use
 * this server. If the clients poll, nothing is published.
 */
import express from 'express'
import {
  authenticate,
  conversationStreams,
  conversationsChannel,
  createMultiplexer,
  dashboardInit,
  messagesChannel,
  sseErrors,
} from '../../dist/index.js'
import { optionsOf } from '../harness/processes.mjs'
import { nowMicros } from '../load/pace.mjs'
import { ACCOUNTS, FEATURES, openInbox, profileOf, TENANTS } from './inbox.mjs'

const MESSAGE_INTERVAL_MS = 2000
/** Longer than any timer of a client, as behind a load balancer: no request is sent on a connection that closes. */
const KEEP_ALIVE_MS = 65_000

const { secret, streaming } = optionsOf()
const inbox = openInbox()
const multiplexer = createMultiplexer()
let requests = 0

const app = express()
app.disable('x-powered-by')
app.use((_req, _res, next) => {
  requests++
  next()
})
const api = express.Router()
api.use(express.json({ limit: '64kb' }))
api.use(authenticate({ secret }))
api.use((_req, res, next) => {
  res.set('Cache-Control', 'no-store')
  next()
})

const tenantOf = ({ auth }) => ({ id: auth.tenant, name: TENANTS[auth.tenant], settings: { locale: 'en' } })
api.get('/profile', (req, res) => res.json(profileOf(req.auth.user)))
api.get('/tenant', (req, res) => res.json(tenantOf(req)))
api.get('/features', (_req, res) => res.json(FEATURES))
api.get('/channels', (_req, res) => res.json({ items: ACCOUNTS }))
api.get('/channels/status', (_req, res) => {
  const checkedAt = new Date().toISOString()
  res.json({
    items: ACCOUNTS.map(({ id, provider }) => ({ id, provider, status: 'connected', quality: 'high', checkedAt })),
  })
})
api.use(
  '/dashboard',
  dashboardInit({
    load: (auth) => ({
      profile: profileOf(auth.user),
      tenant: tenantOf({ auth }),
      features: FEATURES,
      channels: ACCOUNTS,
    }),
  }),
)
api.get('/conversations', async ({ auth: { tenant } }, res) => {
  const cursor = await multiplexer.cursor(conversationsChannel(tenant))
  res.json({ items: inbox.conversations(tenant), cursor })
})
api.get('/conversations/:id/messages', async ({ auth: { tenant }, params: { id } }, res) => {
  const cursor = await multiplexer.cursor(messagesChannel(tenant, id))
  res.json({ items: inbox.messages(tenant, id), cursor })
})
api.use('/sse', conversationStreams({ multiplexer, authorize: ({ tenant }, id) => inbox.has(tenant, id) }))
app.use('/api/v1', api)
app.use(sseErrors())

/** Bytes of sockets that were closed. */
let closedBytes = 0
const sockets = new Set()
const server = app.listen(0, '127.0.0.1', () => {
  process.send({ type: 'listening', port: server.address().port, pids: [process.pid] })
})
server.keepAliveTimeout = KEEP_ALIVE_MS
server.on('connection', (socket) => {
  sockets.add(socket)
  socket.once('close', () => {
    sockets.delete(socket)
    closedBytes += socket.bytesWritten
  })
})

/** The conversation and time of a message. The bench compares this with the time at which it was shown. */
const sent = []

process.on('disconnect', () => process.exit())
process.on('message', ({ type, seconds }) => {
  if (type === 'go') receiveMessages(seconds)
  if (type === 'count') {
    const bytes = [...sockets].reduce((sum, { bytesWritten }) => sum + bytesWritten, closedBytes)
    process.send({ type: 'counted', requests, bytes })
  }
})

/** The contacts of each tenant write in turn, and the tenants at different times. */
function receiveMessages(seconds) {
  const tenants = Object.keys(TENANTS)
  const total = Math.floor((seconds * 1000 * tenants.length) / MESSAGE_INTERVAL_MS)
  const timer = setInterval(async () => {
    const number = sent.length
    const tenant = tenants[number % tenants.length]
    const { message, conversation } = inbox.receive(tenant, Math.floor(number / tenants.length))
    sent.push({ id: message.id, tenant, conversation: conversation.id, at: nowMicros() })
    if (streaming) await announce(tenant, message, conversation)
    if (sent.length < total) return
    clearInterval(timer)
    process.send({ type: 'sent', messages: sent })
  }, MESSAGE_INTERVAL_MS / tenants.length)
}

async function announce(tenant, message, conversation) {
  const data = { type: 'new_message', conversation_id: conversation.id, message, conversation }
  await Promise.all([
    multiplexer.publish(messagesChannel(tenant, conversation.id), { event: 'message', data: message }),
    multiplexer.publish(conversationsChannel(tenant), { event: 'new_message', data }),
  ])
}
