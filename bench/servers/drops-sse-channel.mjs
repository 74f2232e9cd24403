/** sse-channel keeps a history in the process and replays it after Last-Event-ID. Its ids are the application's. */
import SseChannel from 'sse-channel'
import { HISTORY, serveDrops } from '../harness/drop-server.mjs'

const channel = new SseChannel({ jsonEncode: true, historySize: HISTORY })

serveDrops({
  stream: (req, res) => channel.addClient(req, res),
  // An event with the id 0 would be kept in no history.
  publish: (data) => channel.send({ id: data.number + 1, event: 'message', data }),
})
