/**
 * The network of one client: it reaches the servers of a deployment as through a load balancer (each in turn, the next
 * one if a server refuses), and can be cut off for a while. It does not know what the client sends.
 */
import { once } from 'node:events'
import { connect } from 'node:net'

/**
 * @param turn the server of the first connection
 * @param onAttempt called with the time of each attempt that the network carries
 * @param onRestored called when a cut has ended
 */
export function createLink({ ports, turn, onAttempt, onRestored }) {
  const sockets = new Set()
  let isCut = false
  let next = turn

  /** @throws the error of the last server, or if the network is cut */
  async function open() {
    let failure
    for (let i = 0; i < ports.length; i++) {
      if (isCut) throw new Error('The network is cut')
      onAttempt(performance.now())
      const socket = connect(ports[next++ % ports.length], '127.0.0.1')
      sockets.add(socket)
      socket.once('close', () => sockets.delete(socket))
      try {
        await once(socket, 'connect')
        // Small packets do not wait for the answer to those before them, as in browsers.
        socket.setNoDelay(true)
        return socket
      } catch (error) {
        failure = error
      }
    }
    throw failure
  }

  return {
    open,
    isOpen: () => sockets.size > 0,
    /** Ends the connection and refuses new ones for this long. */
    cut(ms) {
      isCut = true
      for (const socket of sockets) socket.destroy(new Error('The network was cut'))
      setTimeout(() => {
        isCut = false
        onRestored()
      }, ms)
    },
  }
}
