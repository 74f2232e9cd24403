/** A session of better-sse for each stream. One Redis connection is subscribed to all channels. */
import { createSession } from 'better-sse'
import { channelServer } from '../harness/channel-server.mjs'

channelServer(async (req, res) => {
  // The data is JSON already.
  const session = await createSession(req, res, { serializer: (data) => data })
  res.write(':\n\n')
  return (data) => session.push(data, 'message')
})
