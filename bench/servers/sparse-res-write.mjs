/** The usual code: one Redis connection that is subscribed to all channels, and `res.write` for each event. */
import { channelServer } from '../harness/channel-server.mjs'

channelServer((_req, res) => {
  res.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' })
  res.write(':\n\n')
  return (data) => res.write(`event: message\ndata: ${data}\n\n`)
})
