import { fileURLToPath } from 'node:url'
import react from '@vitejs/plugin-react'
import { defineConfig } from 'vite'

const lib = (path: string): string => fileURLToPath(new URL(`../../lib/${path}`, import.meta.url))

/** `npm run build:page`. The page takes the kit from its sources, so that what is tried out is what is here. */
export default defineConfig({
  plugins: [react()],
  resolve: {
    alias: {
      'express-sse-kit/client': lib('client/index.ts'),
      'express-sse-kit/react': lib('react/index.ts'),
    },
  },
  build: {
    target: 'es2022',
    // The page's content security policy has no room for inlined files.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
})
