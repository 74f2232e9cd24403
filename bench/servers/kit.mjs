/** The kit as users have it: embedded broker, positions, heartbeats, everything on by default. */
import { createMultiplexer } from '../../dist/index.js'
import { DATA, serve } from '../harness/driver.mjs'

const multiplexer = createMultiplexer()
serve(
  multiplexer.stream(() => 'bench'),
  () => void multiplexer.publish('bench', { event: 'message', data: DATA }),
)
