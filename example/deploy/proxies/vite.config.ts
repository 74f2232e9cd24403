import { defineConfig } from 'vite'

/** Vite's development server in front of the kit: the page comes from Vite, `/api` from the kit. */
export default defineConfig({
  server: {
    proxy: {
      '/api': {
        target: 'http://127.0.0.1:3000',
        // Adds X-Forwarded-For.
        xfwd: true,
        // The time without a byte from the kit, in ms. Heartbeats come every 25 s. By default there is no limit.
        proxyTimeout: 60_000,
        // When the kit restarts, Vite keeps the connection to the browser open, and an EventSource never reconnects.
        configure: (proxy) => {
          proxy.on('proxyRes', (answer, _req, res) => {
            answer.on('close', () => {
              if (!answer.complete) res.destroy()
            })
          })
        },
      },
    },
  },
})
