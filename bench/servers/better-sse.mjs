import { createChannel, createSession } from 'better-sse'
import { DATA, serve } from '../harness/driver.mjs'

const channel = createChannel()
serve(
  async (req, res) => {
    channel.register(await createSession(req, res))
    res.write(':\n\n')
  },
  () => void channel.broadcast(DATA, 'message'),
)
