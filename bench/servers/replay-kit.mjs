/** The kit with its own history: on Redis, filled by another process before; or embedded, filled here. */
import { optionsOf } from '../harness/processes.mjs'
import { log, serveReplay } from '../harness/replay.mjs'
import { fullKit } from './full-kit.mjs'

const {
  redis,
  /** Streams are opened on Node's own request and response. */
  pastExpress = false,
} = optionsOf()
const multiplexer = fullKit(redis)
await multiplexer.ping()
const positions = redis
  ? []
  : await Promise.all(log.map(({ data }) => multiplexer.publish('bench', { event: 'message', data })))
const { channels } = multiplexer.status()
if (channels > 0) throw new Error('The channel is open: its latest events may be in memory')
serveReplay(
  multiplexer.stream(() => 'bench'),
  { cursors: redis ? undefined : positions.map(({ epoch, offset }) => `${epoch}-${offset}`), pastExpress },
)
