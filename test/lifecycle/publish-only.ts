/** A process that publishes, closes nothing and ends: `publish-only.ts <redis url>`. */
import { createMultiplexer } from '../../lib/index.js'

const multiplexer = createMultiplexer({ redis: process.argv[2] })
await multiplexer.publish('orders', { event: 'n', data: 1 })
multiplexer.offer('orders', { event: 'n', data: 2 })
process.stdout.write('published')
