import SSE from 'express-sse'
import { serve } from '../harness/driver.mjs'

// By default every new stream writes the initial content, even none, to all open streams: with 10,000 that is 50
// million writes before the first event. So this uses the other way of its README for initial content.
const sse = new SSE([], { isSerialized: false })
let id = 0
serve(
  (req, res) => {
    sse.init(req, res)
    // Without initial content nothing is written until the first event, not even the headers.
    res.flushHeaders()
  },
  (_number, data) => sse.send(data, 'message', ++id),
)
