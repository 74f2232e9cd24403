/** A cluster worker with an embedded multiplexer, which prints its warnings: `worker.ts`, which is also the primary. */
import cluster from 'node:cluster'
import { createMultiplexer } from '../../lib/index.js'

if (cluster.isPrimary) {
  const worker = cluster.fork()
  worker.on('exit', () => process.exit(0))
} else {
  process.on('warning', ({ code }: Error & { code?: string }) => process.stdout.write(`${code};`))
  const multiplexer = createMultiplexer()
  setImmediate(() => {
    void multiplexer.close().then(() => process.exit(0))
  })
}
