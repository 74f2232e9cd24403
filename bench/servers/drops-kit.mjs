/** The kit on Redis, or embedded. */
import { createMultiplexer, shutdown } from '../../dist/index.js'
import { HISTORY, serveDrops } from '../harness/drop-server.mjs'
import { optionsOf } from '../harness/processes.mjs'

/** Over which the ends of streams are spread at SIGTERM. */
const WINDOW_MS = 2000
const multiplexer = createMultiplexer({ redis: optionsOf().redis, historySize: HISTORY })
await multiplexer.ping()

serveDrops({
  stream: multiplexer.stream(() => 'bench'),
  publish: (data) => multiplexer.publish('bench', { event: 'message', data }),
  stop: (server) => shutdown({ server, streams: [multiplexer], windowMs: WINDOW_MS }),
})
