/**
 * express-sse replays as initial content: one write. Each client has an instance: a shared one would send the content
 * to all open streams whenever one is opened, which is 50 million events for a thousand clients.
 */
import SSE from 'express-sse'
import { missedBy, serveReplay } from '../harness/replay.mjs'

serveReplay((req, res) => {
  const missed = missedBy(req.get('last-event-id'))
  new SSE(missed.map(({ data }) => data)).init(req, res)
})
