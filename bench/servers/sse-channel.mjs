import SseChannel from 'sse-channel'
import { serve } from '../harness/driver.mjs'

const channel = new SseChannel({ jsonEncode: true })
let id = 0
serve(
  (req, res) => channel.addClient(req, res),
  (_number, data) => channel.send({ id: ++id, event: 'message', data }),
)
