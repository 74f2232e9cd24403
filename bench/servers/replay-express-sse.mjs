/**
 * Its way is initial content, sent as one write. An instance for each client: a shared one would send the initial content
 * to all who are connected whenever one connects, which is 50 million events for a thousand clients.
 */
import SSE from 'express-sse'
import { missedBy, serveReplay } from '../harness/replay.mjs'

serveReplay((req, res) => {
  const missed = missedBy(req.get('last-event-id'))
  new SSE(missed.map(({ data }) => data)).init(req, res)
})
