/** The multiplexer as a well-kept application has it: what is on by default, places for streams, and metrics. */
import { createMetrics, createMultiplexer, createStreamLimits } from '../../dist/index.js'

/** @param redis `undefined`: embedded */
export function fullKit(redis) {
  // Counted by address, in one step with the opening; only nobody is refused.
  const streamLimits = createStreamLimits({ redis, perIp: 100_000, opensPerMinute: 0 })
  const multiplexer = createMultiplexer({ redis, streamLimits })
  createMetrics({ multiplexer, streamLimits })
  return multiplexer
}
