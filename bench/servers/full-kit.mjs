/** The multiplexer of a production application: the defaults, stream limits, and metrics. */
import { createMetrics, createMultiplexer, createPressure, createStreamLimits } from '../../dist/index.js'

/** @param redis `undefined`: embedded */
export function fullKit(redis, stream = {}) {
  // Counts by address, in one step with the opening, with limits that no stream reaches.
  const streamLimits = createStreamLimits({ redis, perIp: 100_000, opensPerMinute: 0 })
  // Benches keep the event loop busy on purpose: by default the kit would soon move streams to polling. The delay is
  // still measured, because that has a cost.
  const pressure = createPressure({ maxLoopDelayMs: 100_000 })
  const multiplexer = createMultiplexer({ redis, streamLimits, stream: { pressure, ...stream } })
  createMetrics({ multiplexer, streamLimits })
  return multiplexer
}
