/** Publishes to one channel after the other, in one of several ways. */
import { Redis } from 'ioredis'
import { optionsOf } from '../harness/processes.mjs'
import { eventText, publishOnOrder } from '../load/pace.mjs'
import { openPosts } from '../load/posts.mjs'

/** As many events as the kit keeps. */
const KEPT = 2000
const { redis, channels, way, port, sockets } = optionsOf()

const WAYS = {
  plain: () => {
    const client = new Redis(redis)
    return (channel, data) => client.publish(channel, data)
  },
  log: () => {
    const client = new Redis(redis)
    return (channel, data) =>
      client.pipeline().xadd(`log:${channel}`, 'MAXLEN', '~', KEPT, '*', 'data', data).publish(channel, data).exec()
  },
  post: () => {
    const post = openPosts(port, '/pub', sockets)
    return (channel, data) => post(data, `/pub?channel=${channel}`)
  },
}

const publish = WAYS[way]()
const prefix = way === 'post' ? '' : 'bench:'
process.on('disconnect', () => process.exit())
publishOnOrder((number, due) => publish(`${prefix}${number % channels}`, JSON.stringify(eventText(number, due))))
process.send({ type: 'listening' })
