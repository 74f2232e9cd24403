/** The kit with its defaults, embedded. */
import { serve } from '../harness/driver.mjs'
import { optionsOf } from '../harness/processes.mjs'
import { fullKit } from './full-kit.mjs'

const {
  /** Channels all streams are on; events go to each in turn. */
  shared = 1,
  /** Channels each stream has for itself. */
  own = 0,
  stream,
} = optionsOf()
const channels = Array.from({ length: shared }, (_, i) => `bench:${i}`)
const multiplexer = fullKit(undefined, stream)
let streams = 0

serve(
  multiplexer.stream(() => {
    streams++
    return [...channels, ...Array.from({ length: own }, (_, i) => `own:${streams}:${i}`)]
  }),
  (number, data) => void multiplexer.publish(channels[number % shared], { event: 'message', data }),
)
