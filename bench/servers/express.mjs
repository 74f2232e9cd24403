/** Express alone: an open response. The minimal cost of every stream. */
import { serve } from '../harness/driver.mjs'

serve(
  (_req, res) => {
    res.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' })
    res.write(':\n\n')
  },
  () => undefined,
)
