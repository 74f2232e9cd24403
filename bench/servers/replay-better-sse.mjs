/** better-sse has no history. For many events at once its README recommends a batch: one write. */
import { createSession } from 'better-sse'
import { missedBy, serveReplay } from '../harness/replay.mjs'

serveReplay(async (req, res) => {
  const session = await createSession(req, res)
  await session.batch((buffer) => {
    for (const { id, data } of missedBy(session.lastId)) buffer.push(data, 'message', id)
  })
})
