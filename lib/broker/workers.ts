import cluster from 'node:cluster'

/** `process.emitWarning` gets it as `code` where one of several processes keeps its logs to itself. */
const EMBEDDED_WARNING = 'SSE_EMBEDDED_IN_CLUSTER'

/** An embedded multiplexer in one of several workers: each sees only what is published in it. */
export function warnOfOtherWorkers(): void {
  // PM2 numbers its processes in both of its modes, a lone one too.
  const { NODE_APP_INSTANCE: number, instances } = process.env
  if (!cluster.isWorker && (number === undefined || instances === '1')) return
  process.emitWarning(
    'express-sse-kit: this process is one of several workers, and its multiplexer is embedded: streams get only the events that are ' +
      'published in the same worker. Give createMultiplexer({ redis }).',
    { type: 'ExpressSseKitWarning', code: EMBEDDED_WARNING },
  )
}
