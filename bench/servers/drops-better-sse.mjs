/** better-sse has no history: it reads Last-Event-ID and leaves the rest to the application. */
import { createChannel, createSession } from 'better-sse'
import { serveDrops } from '../harness/drop-server.mjs'

const channel = createChannel()

serveDrops({
  stream: async (req, res) => {
    channel.register(await createSession(req, res))
  },
  publish: (data) => void channel.broadcast(data, 'message', { eventId: String(data.number) }),
})
