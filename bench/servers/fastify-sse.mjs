/** The plugin has no channels: its users keep a list of the open replies. */
import fastifySse from '@fastify/sse'
import fastify from 'fastify'
import { listening } from '../harness/driver.mjs'

const replies = new Set()
let id = 0
const app = fastify()
await app.register(fastifySse)
app.get('/', { sse: 'only' }, async (_request, reply) => {
  reply.sse.keepAlive()
  replies.add(reply)
  reply.sse.onClose(() => replies.delete(reply))
  await reply.sse.send({ data: 'Connected' })
})
await app.listen({ port: 0, host: '127.0.0.1' })
listening(app.server.address().port, (_number, data) => {
  id++
  // Not awaited one by one, because a slow stream would delay all others.
  for (const reply of replies) void reply.sse.send({ id, event: 'message', data })
})
