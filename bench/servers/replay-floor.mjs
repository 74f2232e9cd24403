/** The minimal server under Express for a client that reconnects: headers, and one prepared buffer. */
import { missedBy, serveReplay } from '../harness/replay.mjs'

const replays = new Map()

serveReplay((req, res) => {
  res.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' })
  res.write(replayAfter(req.get('last-event-id')))
})

function replayAfter(id) {
  let replay = replays.get(id)
  if (replay === undefined) {
    const blocks = missedBy(id).map(
      (event) => `id: ${event.id}\nevent: message\ndata: ${JSON.stringify(event.data)}\n\n`,
    )
    replay = Buffer.from(`retry: 3000\n\n${blocks.join('')}`)
    replays.set(id, replay)
  }
  return replay
}
